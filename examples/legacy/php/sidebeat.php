<?php
// What was added to the app: the hook that ends a session, and a push to a user.
declare(strict_types=1);

require __DIR__ . '/receiver.php'; // sidebeat_keys and sidebeat_verify, from examples/receivers

/** Answers requests on the inside port: [status, body]. */
function sidebeat_request(string $call, array $parameters, string $head, string $body): array
{
    return match ($call) {
        'POST /_sidebeat' => sidebeat_hook($head, $body),
        'POST /push' => sidebeat_push((string) ($parameters['uid'] ?? ''), $body),
        default => ['404 Not Found', ''],
    };
}

/** A stream is over: the user whom it carried is offline, whatever TCP thinks. */
function sidebeat_hook(string $head, string $body): array
{
    global $sessions;
    $keys = sidebeat_keys((string) file_get_contents((string) getenv('SIDEBEAT_SECRET_FILE')));
    $header = fn (string $name): string => header_of($head, "webhook-$name");
    if (!sidebeat_verify($keys, $header('id'), $header('timestamp'), $header('signature'), $body)) {
        return ['401 Unauthorized', ''];
    }
    $data = json_decode($body, true, 512, JSON_THROW_ON_ERROR)['data'];
    // What sidebeat's end of the connection is called is what the app calls its client's.
    $peer = $data['upstream']['local_address'];
    // A repeated event may come when the port has found its next user.
    if (isset($sessions[$peer]) && $sessions[$peer]['since'] < strtotime($data['closed_at']) + 1) {
        offline($peer, $data['reason']);
    }
    return ['204 No Content', ''];
}

/** A line to every connection of a user, from anywhere on this machine: sidebeat ends it with a newline, the app's loop is not asked. */
function sidebeat_push(string $uid, string $line): array
{
    $api = stream_socket_client('unix://' . getenv('SIDEBEAT_ADMIN_SOCKET'));
    fwrite($api, 'POST /v1/messages?uid=' . rawurlencode($uid) . " HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
        . 'Content-Length: ' . strlen($line) . "\r\nConnection: close\r\n\r\n$line");
    [, $answer] = explode("\r\n\r\n", (string) stream_get_contents($api), 2);
    return ['200 OK', "$answer\n"];
}
