<?php
use GatewayWorker\Lib\Gateway;

class Events
{
    /** New: sidebeat says which of its streams this client is. */
    public static function onWebSocketConnect($client_id, $data)
    {
        $_SESSION['stream'] = $data['server']['HTTP_SIDEBEAT_STREAM_ID'] ?? null;
    }

    public static function onMessage($client_id, $message)
    {
        $message = json_decode($message, true);
        if ($message['type'] === 'login' && ($uid = check_password($message)) !== null) {
            Gateway::bindUid($client_id, $uid);
            // New: the hook then names the user, and POST /v1/messages?uid=… and DELETE /v1/streams?uid=… find them.
            bind_stream($_SESSION['stream'], $uid);
        }
        // There is no case for 'pong': sidebeat keeps it to itself.
    }

    /** Still called, and now on time: sidebeat ends the connection here, too. Presence is the hook's, which is not lost. */
    public static function onClose($client_id)
    {
    }
}

function bind_stream(?string $stream, string $uid): void
{
    file_get_contents("http://127.0.0.1:9600/v1/streams/$stream", false, stream_context_create(['http' => [
        'method' => 'PATCH',
        'header' => 'Content-Type: application/json',
        'content' => json_encode(['uid' => $uid]),
    ]]));
}
