//! Bytes one way through one raw stream.

use std::io::{Read, Write};

use crate::watch::Watch;
use crate::{Options, Result, client};

/// Sends or reads so many bytes, and says what that cost.
pub fn bulk(options: &Options) -> Result<()> {
    let bytes: u64 = options.number("bytes")?;
    let up = options.text("direction")? == "up";
    let mut stream: Box<dyn ReadWrite> = {
        let socket = std::net::TcpStream::connect(options.text("to")?)?;
        socket.set_nodelay(true)?;
        match options.optional("ca") {
            Some(ca) => Box::new(rustls::StreamOwned::new(
                rustls::ClientConnection::new(client::tls(ca, false)?, "localhost".try_into()?)?,
                socket,
            )),
            None => Box::new(socket),
        }
    };
    let mut order = vec![if up { b'U' } else { b'D' }];
    order.extend_from_slice(&bytes.to_be_bytes());
    stream.write_all(&order)?;
    let mut scratch = vec![b'x'; 256 << 10];
    let watch = Watch::start(options.optional("watch"))?;
    if up {
        let mut left = bytes;
        while left > 0 {
            let piece = scratch.len().min(left as usize);
            stream.write_all(&scratch[..piece])?;
            left -= piece as u64;
        }
        stream.flush()?;
        stream.read_exact(&mut scratch[..1])?;
    } else {
        let mut left = bytes;
        while left > 0 {
            let read = stream.read(&mut scratch)?;
            if read == 0 {
                return Err(format!("{left} bytes are missing").into());
            }
            left -= read as u64;
        }
    }
    watch.report(&format!("\"units\": {bytes}"));
    Ok(())
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}
