<?php
// The tiny application on PHP's own server. See tiny.py for what it does.
const FAKE = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nsmuggled answer\n";

$said = "";
foreach ($_SERVER as $name => $value) {
    if (str_starts_with($name, "HTTP_")) {
        $said .= strtolower(strtr(substr($name, 5), "_", "-")) . ":$value|";
    }
}
$line = "{$_SERVER["REQUEST_METHOD"]} {$_SERVER["REQUEST_URI"]} $said\n";
file_put_contents(getenv("SEEN"), $line, FILE_APPEND);
$path = explode("?", $_SERVER["REQUEST_URI"])[0];
[$status, $length, $text] = match ($path) {
    "/echo" => [200, null, $line . file_get_contents("php://input")],
    "/fake" => [200, strlen(FAKE), FAKE],
    "/204" => [204, null, FAKE],
    "/304" => [304, strlen(FAKE), FAKE],
    "/short" => [200, 2, "ok" . FAKE],
    "/long" => [200, 1000, $line],
    default => [200, strlen($line), $line],
};
if ($path == "/read") {
    file_get_contents("php://input");
}
http_response_code($status);
header("Content-Length: " . ($length ?? strlen($text)));
echo $text;
