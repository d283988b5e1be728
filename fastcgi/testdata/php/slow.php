<?php
for ($i = 0; $i < 3; $i++) {
    printf("%d %.3f\n", $i, microtime(true));
    flush();
    sleep(1);
}
