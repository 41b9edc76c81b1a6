//! A client or an app that says and hears what a test wants.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::proto::cause::End;
use crate::proto::websocket;

/// One end of the stream.
pub(in crate::stream::tests) struct Peer {
    pub(in crate::stream::tests) pipe: DuplexStream,
    pub(super) end: End,
}

/// What a WebSocket peer read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::stream::tests) enum Heard {
    Data(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Fin,
}

impl Peer {
    fn mask(&self) -> Option<[u8; 4]> {
        (self.end == End::Client).then_some([1, 2, 3, 4])
    }

    /// The bytes of one frame as this end sends it.
    pub(in crate::stream::tests) fn frame(&self, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        websocket::encode(opcode, payload, self.mask(), &mut frame);
        frame
    }

    /// A frame with FIN as given: the first or a middle fragment when not set.
    pub(in crate::stream::tests) fn fragment(
        &self,
        opcode: u8,
        payload: &[u8],
        fin: bool,
    ) -> Vec<u8> {
        let mut frame = self.frame(opcode, payload);
        if !fin {
            frame[0] &= 0x7f;
        }
        frame
    }

    pub(in crate::stream::tests) async fn send(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.unwrap();
    }

    pub(in crate::stream::tests) async fn send_frame(&mut self, opcode: u8, payload: &[u8]) {
        let frame = self.frame(opcode, payload);
        self.send(&frame).await;
    }

    pub(in crate::stream::tests) async fn send_text(&mut self, text: &str) {
        self.send_frame(websocket::OPCODE_TEXT, text.as_bytes())
            .await;
    }

    pub(in crate::stream::tests) async fn send_close(&mut self, code: u16, text: &str) {
        let mut frame = Vec::new();
        websocket::encode_close(Some(code), text, self.mask(), &mut frame);
        self.send(&frame).await;
    }

    pub(in crate::stream::tests) async fn fin(&mut self) {
        self.pipe.shutdown().await.unwrap();
    }

    /// The next frame, unmasked, or the end. Frames are read exactly: nothing behind them is touched.
    pub(in crate::stream::tests) async fn hear(&mut self) -> Heard {
        let mut head = [0; 2];
        if self.pipe.read_exact(&mut head[..1]).await.is_err() {
            return Heard::Fin;
        }
        self.pipe.read_exact(&mut head[1..]).await.unwrap();
        let masked = head[1] & 0x80 != 0;
        assert_eq!(
            masked,
            self.end == End::Upstream,
            "frames to the app are masked, frames to a client are not"
        );
        let length = match head[1] & 0x7f {
            126 => u64::from(self.pipe.read_u16().await.unwrap()),
            127 => self.pipe.read_u64().await.unwrap(),
            short => u64::from(short),
        };
        let mut mask = [0; 4];
        if masked {
            self.pipe.read_exact(&mut mask).await.unwrap();
        }
        let mut payload = vec![0; length as usize];
        self.pipe.read_exact(&mut payload).await.unwrap();
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[at % 4];
        }
        match head[0] & 0x0f {
            websocket::OPCODE_PING => Heard::Ping(payload),
            websocket::OPCODE_PONG => Heard::Pong(payload),
            websocket::OPCODE_CLOSE if payload.len() >= 2 => Heard::Close(
                Some(u16::from_be_bytes([payload[0], payload[1]])),
                String::from_utf8(payload[2..].to_vec()).unwrap(),
            ),
            websocket::OPCODE_CLOSE => Heard::Close(None, String::new()),
            _ => Heard::Data(payload),
        }
    }

    /// Everything up to FIN.
    pub(in crate::stream::tests) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.pipe.read_to_end(&mut rest).await.unwrap();
        rest
    }

    pub(in crate::stream::tests) async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.pipe.read_exact(&mut bytes).await.unwrap();
        bytes
    }
}
