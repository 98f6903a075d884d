//! What libcontainer traces as errors, for the message of a failure.
//!
//! Its errors name the step that failed and drop the cause, which only its traces hold. They come from three
//! processes, one of which is inside the container, so they go through a pipe that all of them inherit and that
//! closes when the container's program starts.

use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fmt::{Debug, Write};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::set_global_default;
use tracing::{Event, Level, Metadata, Subscriber};

/// The reading end.
#[derive(Debug)]
pub(super) struct Traces(OwnedFd);

impl Traces {
    /// Collects from here on. Without a pipe, messages are poorer, and that is all.
    pub(super) fn collect() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        set_global_default(Collector(write)).ok()?;
        Some(Self(read))
    }

    /// The error that was traced first, which is the one nearest to the cause.
    pub(super) fn first(&self) -> Option<String> {
        let mut bytes = [0; 1024];
        let count = rustix::io::read(&self.0, &mut bytes).ok()?;
        let line = bytes[..count].split(|byte| *byte == b'\n').next()?;
        let text = String::from_utf8_lossy(line).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }
}

#[derive(Debug)]
struct Collector(OwnedFd);

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        line.0.push('\n');
        // A pipe that is full holds enough errors, and one that is closed means that the container runs.
        rustix::io::write(&self.0, line.0.as_bytes()).ok();
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message and the fields of an event on one line.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}").replace('\n', " ");
        // A string takes every write.
        match field.name() {
            "message" => self.0.insert_str(0, &text),
            name => drop(write!(self.0, ", {name}: {text}")),
        }
    }
}
