<?php

declare(strict_types=1);

namespace Sample\Greeting;

final class Greeting
{
    public static function from(string $name): string
    {
        return $name . " says hello\n";
    }
}
