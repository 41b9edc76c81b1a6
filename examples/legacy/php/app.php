<?php
// The old app: a chat on plain TCP, a message is a line (Workerman's text protocol). The first line of a client is its name.
// It has no heartbeats: a client counts as online until its connection ends, and a connection whose client vanished does not end.
//
//     php app.php [PORT FOR CLIENTS [PORT FOR THE INSIDE]]
declare(strict_types=1);

require __DIR__ . '/sidebeat.php'; // what was added; without it the app is as it was

$clients = stream_socket_server('tcp://127.0.0.1:' . ($argv[1] ?? 7001));
$inside = stream_socket_server('tcp://127.0.0.1:' . ($argv[2] ?? 7002));
echo json_encode(['clients' => port($clients), 'inside' => port($inside)]), "\n";

$sockets = [];  // socket id => socket
$peers = [];    // socket id => "ip:port" of its peer
$buffers = [];  // socket id => bytes of an incomplete line or request
$sessions = []; // "ip:port" of the peer => name, socket, and whether it is online

while (true) {
    $readable = [$clients, $inside, ...array_values($sockets)];
    $none = null;
    if (@stream_select($readable, $none, $none, null) === false) {
        continue; // a signal
    }
    foreach ($readable as $socket) {
        if ($socket === $clients || $socket === $inside) {
            $new = stream_socket_accept($socket);
            stream_set_blocking($new, false);
            $sockets[(int) $new] = $new;
            $peers[(int) $new] = (string) stream_socket_get_name($new, true);
            $buffers[(int) $new] = '';
            continue;
        }
        $data = fread($socket, 65536);
        if ($data === '' || $data === false) {
            on_close($socket);
            continue;
        }
        $buffers[(int) $socket] .= $data;
        if (port($socket) === port($inside)) {
            on_request($socket);
        } else {
            on_data($socket);
        }
    }
}

function port($socket): int
{
    return (int) substr(strrchr(stream_socket_get_name($socket, false), ':'), 1);
}

/** Takes the complete lines out of a client's buffer. */
function on_data($socket): void
{
    global $buffers, $peers, $sessions;
    $peer = $peers[(int) $socket];
    while (($end = strpos($buffers[(int) $socket], "\n")) !== false) {
        $line = substr($buffers[(int) $socket], 0, $end);
        $buffers[(int) $socket] = substr($buffers[(int) $socket], $end + 1);
        if (!isset($sessions[$peer])) {
            // Who is back is listed once.
            $sessions = array_filter($sessions, fn ($one) => $one['name'] !== $line || $one['online']);
            $sessions[$peer] = ['name' => $line, 'since' => microtime(true), 'socket' => $socket, 'online' => true, 'why' => 'closed'];
            continue;
        }
        foreach ($sessions as $other) {
            if ($other['online']) {
                fwrite($other['socket'], "{$sessions[$peer]['name']}: $line\n");
            }
        }
    }
}

function on_close($socket): void
{
    global $sockets, $peers, $buffers;
    offline($peers[(int) $socket]);
    unset($sockets[(int) $socket], $peers[(int) $socket], $buffers[(int) $socket]);
    fclose($socket);
}

/** Ends a session: the connection is over, or sidebeat says that it is. */
function offline(string $peer, ?string $why = null): void
{
    global $sessions;
    if (isset($sessions[$peer])) {
        $sessions[$peer] = ['online' => false, 'why' => $why ?? $sessions[$peer]['why']] + $sessions[$peer];
    }
}

/** The online list: GET /online on the inside port. */
function online(): string
{
    global $sessions;
    $lines = array_map(fn ($one) => $one['name'] . ($one['online'] ? " online\n" : " offline ({$one['why']})\n"), $sessions);
    sort($lines);
    return implode('', $lines);
}

/** One HTTP request and its answer; then the connection ends. */
function on_request($socket): void
{
    global $buffers;
    [$head, $body] = explode("\r\n\r\n", $buffers[(int) $socket], 2) + [1 => null];
    if ($body === null || strlen($body) < (int) (header_of($head, 'content-length') ?: 0)) {
        return;
    }
    [$method, $target] = explode(' ', $head);
    [$path, $query] = explode('?', $target, 2) + [1 => ''];
    parse_str($query, $parameters);
    $answer = match ("$method $path") {
        'GET /online' => ['200 OK', online()],
        default => sidebeat_request("$method $path", $parameters, $head, $body),
    };
    fwrite($socket, "HTTP/1.1 $answer[0]\r\nContent-Length: " . strlen($answer[1]) . "\r\nConnection: close\r\n\r\n$answer[1]");
    on_close($socket);
}

function header_of(string $head, string $name): string
{
    return preg_match("/^$name:\s*(.*?)\s*$/mi", $head, $found) ? $found[1] : '';
}
