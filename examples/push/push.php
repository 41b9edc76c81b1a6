<?php
/**
 * Push to a user and cut a user off, from anywhere in a PHP backend: no extension, no long-lived process.
 *
 *     require 'push.php';
 *     sidebeat_push('42', 'Your order has shipped');
 *     sidebeat_cut_off('42', 4001, 'logged out');
 *
 * SIDEBEAT_ADMIN is where sidebeat's API listens; behind a name with several addresses every one is asked.
 * SIDEBEAT_TOKEN_FILE is its admin.token_file, which it needs anywhere but on loopback.
 */
declare(strict_types=1);

/** Sends a text to every connection of a user; returns how many there were, how many took it and how many did not within 5 s. */
function sidebeat_push(string $uid, string $text): array
{
    return sidebeat_call('POST', '/v1/messages', ['uid' => $uid], $text);
}

/** Closes every connection of a user. Codes from 4000 are the app's own: the client can tell by them not to come back. */
function sidebeat_cut_off(string $uid, int $code, string $reason): array
{
    return sidebeat_call('DELETE', '/v1/streams', ['uid' => $uid, 'code' => $code, 'reason' => $reason]);
}

/** One call that counts, at every process. */
function sidebeat_call(string $method, string $path, array $query, string $body = ''): array
{
    $at = parse_url(getenv('SIDEBEAT_ADMIN') ?: 'http://127.0.0.1:9600');
    $headers = ['Content-Type: text/plain; charset=utf-8', 'Connection: close'];
    if ($file = getenv('SIDEBEAT_TOKEN_FILE')) {
        $headers[] = 'Authorization: Bearer ' . trim(file_get_contents($file));
    }
    $http = ['method' => $method, 'header' => $headers, 'content' => $body, 'ignore_errors' => true, 'timeout' => 15];
    $sum = ['matched' => 0, 'done' => 0, 'failed' => 0];
    foreach (gethostbynamel($at['host']) ?: [] as $address) {
        $url = "http://$address:{$at['port']}$path?" . http_build_query($query, '', '&', PHP_QUERY_RFC3986);
        $answer = @fopen($url, 'r', false, stream_context_create(['http' => $http]));
        if (!$answer) {
            throw new RuntimeException("sidebeat at $address:{$at['port']} does not answer");
        }
        $status = (int) explode(' ', stream_get_meta_data($answer)['wrapper_data'][0])[1];
        $said = json_decode(stream_get_contents($answer), true);
        if ($status !== 200) {
            throw new RuntimeException("sidebeat at $address:{$at['port']} refused with $status: {$said['detail']}");
        }
        foreach ($sum as $name => $_) {
            $sum[$name] += $said[$name];
        }
    }
    return $sum;
}

if (PHP_SAPI === 'cli' && realpath($argv[0]) === __FILE__) {
    $count = match (($argv[1] ?? '') . ' ' . $argc) {
        'push 4' => sidebeat_push($argv[2], $argv[3]),
        'cut-off 5' => sidebeat_cut_off($argv[2], (int) $argv[3], $argv[4]),
        default => exit("php push.php push UID TEXT\nphp push.php cut-off UID CODE REASON\n"),
    };
    echo "{$count['done']} of {$count['matched']} connections\n";
}
