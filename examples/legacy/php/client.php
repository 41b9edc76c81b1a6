<?php
// A client: php client.php PORT NAME. It prints what it is told, and answers heartbeats: that line is all that was added.
declare(strict_types=1);

$socket = stream_socket_client("tcp://127.0.0.1:$argv[1]");
fwrite($socket, "$argv[2]\n");
while (($line = fgets($socket)) !== false) {
    if ($line === "ping\n") {
        fwrite($socket, "pong\n");
        continue;
    }
    echo "$argv[2] got: $line";
}
