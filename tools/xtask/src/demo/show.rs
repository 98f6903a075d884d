//! What a person reads while the demo runs: numbered steps, what each shows, and what was checked.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use skerry_ground::region::Operator;

/// Prints steps and counts them.
#[derive(Debug)]
pub(crate) struct Show {
    steps: u32,
    checks: u32,
    start: Instant,
}

impl Show {
    pub(crate) fn new(title: &str) -> Self {
        println!("{title}\n");
        Self { steps: 0, checks: 0, start: Instant::now() }
    }

    /// One step: its title, what `work` notes and checks, and its time. An error is shown as the step's end.
    pub(crate) fn step<T>(&mut self, title: &str, work: impl FnOnce(&mut Step) -> Result<T>) -> Result<T> {
        skerry_ground::check_interrupt()?;
        self.steps += 1;
        println!("{:2}. {title}", self.steps);
        let start = Instant::now();
        let mut step = Step { checks: 0, indent: "      " };
        let result = work(&mut step);
        self.checks += step.checks;
        let verdict = if result.is_ok() { "done" } else { "FAILED" };
        println!("    {verdict} after {:.1} s\n", start.elapsed().as_secs_f32());
        result
    }

    /// The last line.
    pub(crate) fn end(self) -> Result<()> {
        ensure!(self.checks > 0, "nothing was checked");
        let seconds = self.start.elapsed().as_secs_f32();
        println!("All {} steps done and {} checks passed in {seconds:.0} s.", self.steps, self.checks);
        Ok(())
    }
}

/// A step in progress.
#[derive(Debug)]
pub(crate) struct Step {
    checks: u32,
    indent: &'static str,
}

impl Step {
    /// Something to read: a command, a table, a log line. Several lines keep their shape.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        for line in text.as_ref().trim_end().lines() {
            println!("{}{line}", self.indent);
        }
    }

    /// A command line, as a person would type it.
    pub(crate) fn command(&mut self, line: impl AsRef<str>) {
        println!("{}$ {}", self.indent, line.as_ref());
    }

    /// A command line that is typed on a certain machine.
    pub(crate) fn on(&mut self, host: &str, line: impl AsRef<str>) {
        println!("{}{host}$ {}", self.indent, line.as_ref());
    }

    /// Runs `skerry` with these arguments, shows the line and what it prints, and gives that.
    pub(crate) fn skerry(&mut self, operator: &Operator, arguments: &[&str]) -> Result<String> {
        self.skerry_as(&format!("skerry {}", arguments.join(" ")), operator, arguments)
    }

    /// As [`Step::skerry`], typed at a certain master.
    pub(crate) fn skerry_on(
        &mut self,
        host: &str,
        operator: &Operator,
        arguments: &[&str],
    ) -> Result<String> {
        self.on(host, format!("skerry {}", arguments.join(" ")));
        let said = operator.skerry(arguments)?;
        self.note(&said);
        Ok(said)
    }

    /// As [`Step::skerry`], with another line shown: for paths that would only distract.
    pub(crate) fn skerry_as(
        &mut self,
        line: &str,
        operator: &Operator,
        arguments: &[&str],
    ) -> Result<String> {
        self.command(line);
        let said = operator.skerry(arguments)?;
        self.note(&said);
        Ok(said)
    }

    /// States what must be so. The demo ends here when it is not.
    pub(crate) fn check(&mut self, what: impl AsRef<str>, holds: bool) -> Result<()> {
        let what = what.as_ref();
        self.checks += 1;
        if !holds {
            println!("    FAILED  {what}");
            bail!("not so: {what}");
        }
        println!("    ok  {what}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_fails_ends_the_step() {
        let mut show = Show::new("test");
        assert_eq!(show.step("good", |step| step.check("one is one", true).map(|()| 7)).unwrap(), 7);
        let error = show.step("bad", |step| step.check("one is two", false)).unwrap_err();
        assert_eq!(error.to_string(), "not so: one is two");
        assert_eq!((show.steps, show.checks), (2, 2));
    }
}
