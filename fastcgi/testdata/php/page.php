<?php
if (isset($_GET["status"])) http_response_code((int)$_GET["status"]);
if (isset($_GET["warn"])) error_log($_GET["warn"]);
if (isset($_GET["len"])) {
    echo strlen($_SERVER[$_GET["len"]]), "\n";
    exit;
}
echo "hello from page.php: ", $_SERVER["REQUEST_METHOD"], " ", $_SERVER["SCRIPT_NAME"], " ", $_SERVER["PATH_INFO"] ?? "", " ", $_SERVER["QUERY_STRING"], "\n";
