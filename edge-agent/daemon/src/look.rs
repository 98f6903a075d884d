//! Looks whether a container is well, from inside its network.
//!
//! A socket belongs to the network namespace in which it was made, whoever uses it later. So a thread of its own enters the
//! container's namespace, makes the socket, and ends; it serves nothing else, so no other work ever runs in there. A look then
//! reaches what listens on the container's address as well as what listens on its loopback only, and no bridge, packet rule or
//! connection table of the node takes part.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream as StdStream};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use skerry_agent_state::Failure;
use skerry_runtime::{ContainerRef, ExecError, Executed, Runtime};
use skerry_types::{ExitKind, ReasonCode, show_duration};
use tokio::net::{TcpSocket, TcpStream};

/// Stack of the thread that makes a socket: it opens a file and makes two system calls.
const STACK_BYTES: usize = 64 * 1024;
/// A look reads an answer's head only; a longer one than this is no answer.
const HEAD_MAX: usize = 16 * 1024;
/// Characters of a command's last line that people are told.
const SAID_MAX: usize = 200;
/// A shorter time than this is none.
const TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// Where a container listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// A process of it.
    pub(crate) pid: u32,
    /// Its address, if it has one.
    pub(crate) address: Option<Ipv4Addr>,
    /// Its port.
    pub(crate) port: u16,
}

/// Whether something takes connections.
pub(crate) async fn tcp(target: Target, within: Duration) -> Result<(), Failure> {
    in_time(within, connect(target)).await.map(drop)
}

/// Whether `GET path` is answered with a status of 200 to 399.
pub(crate) async fn http(target: Target, path: &str, within: Duration) -> Result<(), Failure> {
    let status = in_time(within, async {
        let stream = connect(target).await?;
        get(stream, target, path)
            .await
            .map_err(|why| unwell(format!("GET {path} on port {}: {why}", target.port)))
    });
    let status = status.await?;
    if (200..400).contains(&status.as_u16()) {
        return Ok(());
    }
    Err(unwell(format!("GET {path} on port {}: status {}", target.port, status.as_u16())))
}

/// Whether a command in the container ends with code 0.
pub(crate) async fn exec(
    runtime: &Runtime,
    container: &ContainerRef,
    command: &[String],
    within: Duration,
) -> Result<(), Failure> {
    let within = within.max(TIMEOUT_MIN);
    let name = command.first().map_or("", String::as_str);
    match runtime.exec(container, command, within).await {
        Ok(Executed { end: Some(ExitKind::Code(0)), .. }) => Ok(()),
        Ok(Executed { end, output }) => Err(unwell(exec_words(name, end, &output, within))),
        Err(ExecError::Refused { message }) => Err(unwell(message)),
        // Nothing was found out: it has just ended, or the node cannot do it.
        Err(error) => Err(Failure::transient(ReasonCode::Keeper, skerry_types::chain(&error))),
    }
}

fn exec_words(command: &str, end: Option<ExitKind>, output: &str, within: Duration) -> String {
    let how = match end {
        Some(ExitKind::Code(code)) => format!("exit code {code}"),
        Some(ExitKind::Signal(signal)) => format!("signal {signal}"),
        Some(ExitKind::Unknown) => "unknown end".to_owned(),
        None => format!("no end within {}", show_duration(within)),
    };
    let last = output.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    let last: String = last.chars().take(SAID_MAX).collect();
    if last.is_empty() { format!("{command}: {how}") } else { format!("{command}: {how}: {last}") }
}

/// What a look saw that is not well.
pub(crate) fn unwell(message: impl Into<String>) -> Failure {
    Failure::transient(ReasonCode::Unhealthy, message)
}

/// Bounds a look.
pub(crate) async fn in_time<T>(
    within: Duration,
    look: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let within = within.max(TIMEOUT_MIN);
    let ended = tokio::time::timeout(within, look).await;
    ended.unwrap_or_else(|_| Err(unwell(format!("no answer within {}", show_duration(within)))))
}

/// Connects to the container's address, or to its loopback when nothing listens there.
async fn connect(target: Target) -> Result<TcpStream, Failure> {
    let mut last = None;
    for address in target.address.into_iter().chain([Ipv4Addr::LOCALHOST]) {
        let to = SocketAddr::V4(SocketAddrV4::new(address, target.port));
        match socket_of(target.pid)?.connect(to).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    let why = last.map_or_else(|| "no address".to_owned(), |error| words(&error));
    Err(unwell(format!("port {}: {why}", target.port)))
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        _ => error.to_string(),
    }
}

fn socket_of(pid: u32) -> Result<TcpSocket, Failure> {
    let made = socket_in(pid).map_err(|error| {
        // It has ended, or the machine is out of something: neither says whether the container is well.
        Failure::transient(ReasonCode::Network, format!("cannot look from inside process {pid}: {error}"))
    })?;
    Ok(TcpSocket::from_std_stream(StdStream::from(made)))
}

/// Makes a TCP socket in the network namespace of a process. Takes some tens of microseconds, so it may be waited for.
fn socket_in(pid: u32) -> io::Result<OwnedFd> {
    let make = move || {
        let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        Ok(rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?)
    };
    let thread = std::thread::Builder::new().name("look".to_owned()).stack_size(STACK_BYTES).spawn(make)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes sockets panicked")))
}

/// Asks for a path and reads the head of the answer. The connection ends with it.
async fn get(stream: TcpStream, target: Target, path: &str) -> Result<StatusCode, String> {
    let host = format!("{}:{}", target.address.unwrap_or(Ipv4Addr::LOCALHOST), target.port);
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("skerry-agent/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(String::new());
    let request = request.map_err(|error| error.to_string())?;
    let mut client = http1::Builder::new();
    client.max_buf_size(HEAD_MAX);
    let (mut sender, connection) =
        client.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let mut answer = pin!(sender.send_request(request));
    let mut connection = pin!(connection);
    // The connection moves the bytes while the answer is waited for; when it ends without one, the answer says why.
    poll_fn(|cx| {
        let _ended: bool = connection.as_mut().poll(cx).is_ready();
        match answer.as_mut().poll(cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response.status())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(skerry_types::chain(&error))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SOON: Duration = Duration::from_millis(300);

    fn here(port: u16) -> Target {
        Target { pid: std::process::id(), address: None, port }
    }

    /// Answers each connection with these bytes, after it has read something.
    async fn serve(answer: &'static [u8]) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 1024];
                let read = stream.read(&mut asked).await.unwrap();
                assert!(asked[..read].starts_with(b"GET /well?a=b HTTP/1.1\r\n"));
                stream.write_all(answer).await.unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn statuses_say_whether_it_is_well() {
        let check = async |answer: &'static [u8], expect: Result<(), &str>| {
            let port = serve(answer).await;
            let got = http(here(port), "/well?a=b", Duration::from_secs(5)).await;
            let got = got.map_err(|failure| {
                assert_eq!(failure.reason.code, ReasonCode::Unhealthy);
                failure.reason.message.replace(&port.to_string(), "PORT")
            });
            match (got, expect) {
                (Ok(()), Ok(())) => {}
                (Err(got), Err(expect)) => assert!(got.contains(expect), "{got}"),
                other => panic!("{other:?}"),
            }
        };
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Ok(())).await;
        check(b"HTTP/1.0 204 No Content\r\n\r\n", Ok(())).await;
        check(b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n", Ok(())).await;
        check(b"HTTP/1.1 400 Bad\r\n\r\n", Err("GET /well?a=b on port PORT: status 400")).await;
        check(b"HTTP/1.1 503 No\r\ncontent-length: 9999999\r\n\r\n", Err("status 503")).await;
        check(b"SSH-2.0-x\r\n\r\n", Err("GET /well?a=b on port PORT: ")).await;
        check(b"", Err("GET /well?a=b on port PORT: ")).await;
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_is_none() {
        let endless: &'static [u8] = vec![b'x'; 200_000].leak();
        let port = serve(endless).await;
        assert!(http(here(port), "/well?a=b", Duration::from_secs(5)).await.is_err());
    }

    #[tokio::test]
    async fn connections_say_whether_it_is_well() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(tcp(here(port), SOON).await.is_ok());
        let silent = http(here(port), "/", SOON).await.unwrap_err();
        assert_eq!(silent.reason.message, "no answer within 300ms");
        drop(listener);
        let refused = tcp(here(port), SOON).await.unwrap_err();
        assert_eq!(refused.reason.message, format!("port {port}: nothing listens there"));
        let gone = tcp(Target { pid: u32::MAX, ..here(port) }, SOON).await.unwrap_err();
        assert_eq!(gone.reason.code, ReasonCode::Network, "nothing was found out");
    }

    #[test]
    fn a_command_is_told_by_its_end_and_its_last_line() {
        let check = |end: Option<ExitKind>, output: &str, expect: &str| {
            assert_eq!(exec_words("check", end, output, SOON), expect);
        };
        check(Some(ExitKind::Code(3)), "", "check: exit code 3");
        check(Some(ExitKind::Code(3)), "one\ntwo \n\n", "check: exit code 3: two");
        check(Some(ExitKind::Signal(9)), "one", "check: signal 9: one");
        check(None, "", "check: no end within 300ms");
        let long = exec_words("check", None, &"å".repeat(5000), SOON);
        assert_eq!(long.chars().filter(|c| *c == 'å').count(), SAID_MAX);
    }

    /// Ends with the test.
    struct Other(Child);

    impl Drop for Other {
        fn drop(&mut self) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }

    /// A process in a network namespace of its own, which listens nowhere.
    fn elsewhere() -> Other {
        let child = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up; echo up; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux is on every machine that runs these tests");
        let mut other = Other(child);
        let mut said = [0; 3];
        io::Read::read_exact(other.0.stdout.as_mut().unwrap(), &mut said).expect("root may make a namespace");
        other
    }

    #[tokio::test]
    async fn a_look_is_from_inside_and_leaves_nobody_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let other = elsewhere();
        let there = Target { pid: other.0.id(), ..here(port) };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        for _ in 0..50 {
            assert!(tcp(there, SOON).await.is_err(), "the port is open out here only");
            assert!(tcp(here(port), SOON).await.is_ok());
        }
        for thread in std::fs::read_dir("/proc/self/task").unwrap() {
            let namespace = std::fs::read_link(thread.unwrap().path().join("ns/net"));
            // A thread of another test may have ended meanwhile.
            assert!(namespace.map_or(true, |namespace| namespace == own));
        }
    }
}
