<?php
$n = 0;
$in = fopen("php://input", "r");
while (!feof($in)) $n += strlen(fread($in, 65536));
echo $n, " bytes\n";
