<?php

declare(strict_types=1);

use Sample\Greeting\Greeting;

require __DIR__ . '/../vendor/autoload.php';

header('Content-Type: text/plain');

switch (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH)) {
    case '/':
        echo Greeting::from('php');
        break;
    case '/health':
        echo 'ok';
        break;
    default:
        http_response_code(404);
        echo "not found\n";
}
