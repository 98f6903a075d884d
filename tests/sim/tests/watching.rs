//! What never ends is told with the command that plays it again, and fails.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends what it started, whatever becomes of the test.
struct Playing(Child);

impl Drop for Playing {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_brain_that_goes_round_for_ever_ends_the_process_with_its_seed() {
    let words = ["--seed", "7", "--mutation", "TimerNeverReturns", "--count", "3", "--patience-ms", "200"];
    let child = Command::new(env!("CARGO_BIN_EXE_skerry-sim")).args(words).stderr(Stdio::piped()).spawn();
    let mut playing = Playing(child.expect("the simulator starts"));
    let deadline = Instant::now() + Duration::from_mins(1);
    let status = loop {
        if let Some(status) = playing.0.try_wait().expect("a child that can be waited for") {
            break status;
        }
        assert!(Instant::now() < deadline, "it plays on");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(!status.success(), "{status}");
    let mut said = String::new();
    let mut stderr = playing.0.stderr.take().expect("what it said");
    stderr.read_to_string(&mut said).expect("it is text");
    assert!(said.contains("seed 7, after") && said.contains("is not done after 200ms"), "{said}");
    let command = "cargo run -p skerry-sim -- --seed 7 --trace --mutation TimerNeverReturns\n";
    assert!(said.ends_with(command), "{said}");
}
