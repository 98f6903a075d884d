//! One light agent: the real brain on the real link.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use skerry_agent_state::Input;
use skerry_link::{
    CloseReason, Connection, Dialer, FrameError, FramedReceiver, FramedSender, KeepAlive, MAX_FRAME_BYTES,
};
use skerry_wire::ToChild;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::tally::Tally;

/// From the handshake to the Welcome, as agents wait for it.
const WELCOME_WAIT: Duration = Duration::from_secs(30);

/// An agent.
pub(crate) struct Agent {
    pub(crate) number: usize,
    pub(crate) body: Body,
    pub(crate) dialer: Dialer,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) tally: Arc<Tally>,
    pub(crate) cancel: CancellationToken,
}

impl Agent {
    /// Runs until it is cancelled.
    pub(crate) async fn run(mut self) {
        let cancel = self.cancel.clone();
        loop {
            let connection = tokio::select! {
                () = cancel.cancelled() => return,
                // Never ends before it has connected.
                connection = dial(&mut self.dialer, &mut self.body) => connection,
            };
            self.tally.connected(self.number, &connection);
            let end = tokio::select! {
                () = cancel.cancelled() => "the swarm ends".to_owned(),
                // What it leaves behind ends with the connection.
                end = self.exchange(&connection) => end,
            };
            connection.close(CloseReason::Done, &end);
            self.body.feed(Input::LinkDown);
            self.tally.parted(self.number);
            if cancel.is_cancelled() {
                return;
            }
        }
    }

    async fn exchange(&mut self, connection: &Connection) -> String {
        let (mut sender, mut receiver) = match timeout(WELCOME_WAIT, connection.control()).await {
            Ok(Ok(streams)) => streams,
            Ok(Err(lost)) => return lost.to_string(),
            Err(_) => return "no stream could be opened in time".to_owned(),
        };
        self.body.feed(Input::LinkUp);
        let stalled = connection.stalled(self.keep_alive.idle_timeout());
        tokio::pin!(stalled);
        loop {
            if let Err(error) = self.speak(&mut sender).await {
                return error.to_string();
            }
            if let Some(why) = self.body.hang_up.take() {
                self.tally.fail(format!("agent {} hung up: {why}", self.number));
                return why;
            }
            tokio::select! {
                // All are cancel-safe: what has arrived of a message stays in the receiver.
                heard = hear(&mut receiver) => match heard {
                    Ok(message) => self.take(message),
                    Err(end) => return end,
                },
                () = due(&self.body) => self.body.step(),
                () = stalled.as_mut() => return "nothing was heard for too long".to_owned(),
            }
        }
    }

    fn take(&mut self, message: ToChild) {
        if matches!(message, ToChild::Welcome(_)) {
            self.dialer.welcomed();
        }
        self.body.feed(Input::Received(message));
    }

    /// Sends what the brain wants sent.
    async fn speak(&mut self, sender: &mut FramedSender) -> Result<(), FrameError> {
        while let Some(message) = self.body.outgoing.pop_front() {
            sender.send(&message).await?;
        }
        self.tally.note_held(self.body.held_more());
        self.tally.note_sync(self.number, self.body.is_in_sync());
        Ok(())
    }
}

async fn hear(receiver: &mut FramedReceiver) -> Result<ToChild, String> {
    match receiver.recv(MAX_FRAME_BYTES).await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err("the master ended the control stream".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Dials while the brain goes on.
async fn dial(dialer: &mut Dialer, body: &mut Body) -> Connection {
    let connect = dialer.connect();
    tokio::pin!(connect);
    loop {
        let connect: Pin<&mut _> = connect.as_mut();
        tokio::select! {
            connection = connect => return connection,
            () = due(body) => body.step(),
        }
    }
}

async fn due(body: &Body) {
    match body.due() {
        Some(at) => sleep_until(at.max(Instant::now())).await,
        None => std::future::pending().await,
    }
}
