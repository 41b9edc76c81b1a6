<?php
use GatewayWorker\Gateway;

// For sidebeat only, which has the port of the clients now. No pingInterval: nobody is pinged or judged here any more.
$gateway = new Gateway('websocket://127.0.0.1:7273');
$gateway->name = 'ChatGateway';
$gateway->count = 4;
$gateway->lanIp = '127.0.0.1';
$gateway->startPort = 2900;
$gateway->registerAddress = '127.0.0.1:1238';
