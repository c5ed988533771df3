<?php
// Packs Debian's Composer and the libraries it loads into one file that runs anywhere PHP does.
$phar = new Phar($argv[1], 0, 'composer.phar');
$phar->buildFromDirectory('/usr/share', '#^/usr/share/php/.+(\.(php|json|txt)|/LICENSE)$#');

$start = file_get_contents('/usr/bin/composer');
$start = preg_replace('/^#!.*\n/', '', $start);
$start = str_replace("__DIR__ . '/../share/php/Composer/autoload.php'", "'phar://composer.phar/php/Composer/autoload.php'", $start, $found);
if ($found !== 1) {
    throw new RuntimeException('Composer no longer starts the way this script knows');
}
$phar->addFromString('composer', $start);
$phar->setStub("#!/usr/bin/env php\n<?php Phar::mapPhar('composer.phar'); require 'phar://composer.phar/composer'; __HALT_COMPILER();");
