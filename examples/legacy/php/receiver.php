<?php
// A receiver of sidebeat's hooks: PHP 7.4 or newer, nothing else. Behind any web server, or to try it:
//
//     SIDEBEAT_SECRET_FILE=secret php -S 127.0.0.1:8080 receiver.php
//
// Copy `sidebeat_keys` and `sidebeat_verify` into your app.
declare(strict_types=1);

const SIDEBEAT_TOLERANCE = 5 * 60; // seconds

/** The keys in the text of a secret file: one a line, `whsec_` and base64 or else the line as it is. */
function sidebeat_keys(string $text): array
{
    $keys = [];
    foreach (explode("\n", $text) as $line) {
        $line = preg_replace('/\r$/D', '', $line);
        if (strncmp($line, 'whsec_', 6) === 0) {
            $key = base64_decode(rtrim(substr($line, 6)), true);
            if ($key === false || $key === '') {
                throw new RuntimeException('what follows whsec_ must be base64');
            }
            $keys[] = $key;
        } elseif (trim($line) !== '') {
            $keys[] = $line;
        }
    }
    return $keys;
}

/** Whether a body was signed, lately, by somebody who has one of the keys. */
function sidebeat_verify(array $keys, string $id, string $timestamp, string $signatures, string $body, ?int $now = null): bool
{
    if (preg_match('/^[0-9]+$/D', $timestamp) !== 1 || abs(($now ?? time()) - (int) $timestamp) > SIDEBEAT_TOLERANCE) {
        return false;
    }
    $good = false;
    foreach ($keys as $key) {
        $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
        foreach (explode(' ', $signatures) as $signature) {
            // Every pair is compared, in constant time: the clock tells nobody which one was nearly right.
            $good = hash_equals($expected, $signature) || $good;
        }
    }
    return $good;
}

/** Your part. An event may come more than once: its id is the key to know it by. */
function sidebeat_take(array $event): void
{
    $data = $event['data'];
    if ($event['type'] === 'sidebeat.stream.closed') {
        $uid = $data['uid'] ?? 'nobody';
        error_log("{$event['id']} stream {$data['id']} of $uid is over: {$data['reason']}");
    } else {
        error_log("{$event['id']} {$event['type']}");
    }
}

// Not when this file is included for its functions.
if (isset($_SERVER['REQUEST_METHOD'])) {
    $secret = sidebeat_keys((string) file_get_contents((string) getenv('SIDEBEAT_SECRET_FILE')));
    $body = (string) file_get_contents('php://input');
    $header = fn (string $name): string => (string) ($_SERVER["HTTP_WEBHOOK_$name"] ?? '');
    if (sidebeat_verify($secret, $header('ID'), $header('TIMESTAMP'), $header('SIGNATURE'), $body)) {
        sidebeat_take(json_decode($body, true, 512, JSON_THROW_ON_ERROR));
        http_response_code(204);
    } else {
        http_response_code(401);
    }
}
