//! The smallest workload: a static binary that serves a line, and does on request what tests want of a container.
//!
//! ```text
//! hello serve [PORT]        serve on PORT ($PORT, 8080); paths: / /env /exit?CODE /print?LINES /eat?MIB
//!                           /burn?MILLISECONDS of processor time, /gauge?VALUE of the gauge "queue"
//! hello sleep [SECONDS]     end with code 0 after SECONDS (for ever)
//! hello exit CODE           print a line and end with CODE
//! hello print LINES [BYTES] print numbered lines of at least BYTES bytes, then end with code 0
//! hello tick MILLISECONDS   print a numbered line this often, for ever
//! hello eat MIB             take this much memory and keep it
//! hello run                 print "first instruction" and the monotonic clock in ns, then sleep
//! ```
//! Each verb first prints its name. SIGTERM ends it with code 0, unless $IGNORE_TERM is set.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::exit;
use std::time::{Duration, Instant};

/// Where a container tells the node its gauges.
const GAUGES: &str = "/dev/shm/skerry-gauges";

const SIGTERM: i32 = 15;
const SIG_IGN: usize = 1;
const CLOCK_MONOTONIC: i32 = 1;

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
    fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
}

extern "C" fn end(_: i32) {
    // SAFETY: `_exit` may be called in a signal handler.
    unsafe { _exit(0) }
}

fn main() {
    let handler = if std::env::var_os("IGNORE_TERM").is_some() { SIG_IGN } else { end as *const () as usize };
    // SAFETY: the handler only calls `_exit`. As the first process of a container it gets no default action.
    unsafe { signal(SIGTERM, handler) };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verb = arguments.first().map_or("serve", String::as_str);
    let number = |at: usize| arguments.get(at).and_then(|word| word.parse::<u64>().ok());
    match verb {
        "run" => first_instruction(),
        "serve" => serve(number(1)),
        "sleep" => sleep(number(1)),
        "exit" => {
            println!("hello exit");
            exit(code(number(1)));
        }
        "print" => print_lines(number(1).unwrap_or(1), number(2).unwrap_or(0)),
        "tick" => tick(number(1).unwrap_or(1000)),
        "eat" => eat(number(1).unwrap_or(1)),
        _ => {
            eprintln!("hello: {verb:?} is none of serve, sleep, exit, print, tick, eat, run");
            exit(2);
        }
    }
}

fn first_instruction() {
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `now` is valid for a write.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &raw mut now) };
    println!("first instruction {}", now.seconds * 1_000_000_000 + now.nanoseconds);
    sleep(None);
}

fn sleep(seconds: Option<u64>) {
    println!("hello sleep");
    match seconds {
        Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
        None => loop {
            std::thread::park();
        },
    }
}

fn print_lines(lines: u64, bytes: u64) {
    println!("hello print");
    let filler = "~".repeat(usize::try_from(bytes).unwrap_or(0));
    for line in 1..=lines {
        println!("line {line} {filler}");
    }
}

fn tick(milliseconds: u64) {
    println!("hello tick");
    for line in 1u64.. {
        println!("tick {line}");
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
}

/// Memory counts only once it is written to.
fn eat(mebibytes: u64) {
    println!("hello eat {mebibytes}");
    let size = usize::try_from(mebibytes).unwrap_or(0) << 20;
    let mut memory = vec![0u8; size];
    for byte in memory.iter_mut().step_by(4096) {
        *byte = 1;
    }
    println!("ate {} MiB", std::hint::black_box(&memory).len() >> 20);
    sleep(None);
}

fn serve(port: Option<u64>) {
    let from_environment = || std::env::var("PORT").ok()?.parse().ok();
    let port = port.or_else(from_environment).and_then(|port| u16::try_from(port).ok()).unwrap_or(8080);
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap_or_else(|error| {
        eprintln!("hello: port {port}: {error}");
        exit(1);
    });
    println!("hello serve on {port}");
    for stream in listener.incoming().flatten() {
        if let Err(error) = answer(stream) {
            eprintln!("hello: {error}");
        }
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = [0; 2048];
    let length = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..length]);
    let path = request.split(' ').nth(1).unwrap_or("/");
    println!("asked for {path}");
    let (path, number) = path.split_once('?').unwrap_or((path, ""));
    let number = number.parse().ok();
    let body = match path {
        "/env" => std::env::vars().fold(String::new(), |mut text, (name, value)| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}={value}");
            text
        }),
        "/burn" => {
            burn(Duration::from_millis(number.unwrap_or(1)));
            "burnt\n".to_owned()
        }
        "/gauge" => {
            std::fs::write(GAUGES, format!("queue {}\n", number.unwrap_or(0)))?;
            "told\n".to_owned()
        }
        _ => format!("hello from {}\n", host_name()),
    };
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    drop(stream);
    match path {
        "/exit" => exit(code(number)),
        "/print" => print_lines(number.unwrap_or(1), 0),
        "/eat" => eat(number.unwrap_or(1)),
        _ => {}
    }
    Ok(())
}

/// Keeps a processor busy for this long.
fn burn(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "nowhere".into(), |name| name.trim().into())
}

fn code(number: Option<u64>) -> i32 {
    number.and_then(|number| i32::try_from(number).ok()).unwrap_or(0)
}
