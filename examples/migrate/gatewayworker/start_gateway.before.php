<?php
use GatewayWorker\Gateway;

$gateway = new Gateway('websocket://0.0.0.0:7272');
$gateway->name = 'ChatGateway';
$gateway->count = 4;
$gateway->lanIp = '127.0.0.1';
$gateway->startPort = 2900;
$gateway->registerAddress = '127.0.0.1:1238';

// The page answers every {"type":"ping"} with {"type":"pong"}.
$gateway->pingInterval = 25;
$gateway->pingNotResponseLimit = 2;
$gateway->pingData = '{"type":"ping"}';
