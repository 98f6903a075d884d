//! As much HTTP as it takes to fetch a page from a workload.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Namespace;

const LIMIT: Duration = Duration::from_secs(5);

/// Fetches `path` from inside of a namespace and gives the body. Any status but 200 is an error.
pub fn fetch(from: &Namespace, address: SocketAddr, path: &str) -> Result<String> {
    from.within(|| get(address, path))?.with_context(|| format!("fetching {path} from {address}"))
}

fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of header")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("answered {status:?}");
    }
    Ok(body.to_owned())
}
