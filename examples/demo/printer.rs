//! Prints what comes, without holding up who reads the spans: what comes faster than it can be printed is counted, not kept.

use anyhow::{Result, ensure};
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// How many texts may wait to be printed.
const WAITING: usize = 200;

/// Prints on a thread of its own.
#[derive(Debug)]
pub(crate) struct Printer {
    texts: SyncSender<String>,
    thread: JoinHandle<io::Result<()>>,
    missed: usize,
}

impl Printer {
    /// One that prints here.
    pub(crate) fn to(mut output: impl Write + Send + 'static) -> Self {
        let (texts, printed) = sync_channel::<String>(WAITING);
        let thread =
            std::thread::spawn(move || printed.iter().try_for_each(|it| writeln!(output, "{it}")));
        Self { texts, thread, missed: 0 }
    }

    /// Prints a text, if there is room.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) fn print(&mut self, text: String) -> Result<()> {
        if self.missed > 0 && self.send(missed(self.missed))? {
            self.missed = 0;
        }
        if !self.send(text)? {
            self.missed += 1;
        }
        Ok(())
    }

    /// Whether there was room.
    fn send(&self, text: String) -> Result<bool> {
        let sent = self.texts.try_send(text);
        ensure!(
            !matches!(sent, Err(TrySendError::Disconnected(_))),
            "nobody reads what is printed"
        );
        Ok(sent.is_ok())
    }

    /// Waits until all is printed.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) fn finish(self) -> Result<()> {
        if self.missed > 0 {
            let _ = self.texts.send(missed(self.missed));
        }
        drop(self.texts);
        // A panic of the thread is none of what it can do.
        Ok(self.thread.join().unwrap_or(Ok(()))?)
    }
}

fn missed(count: usize) -> String {
    format!("\n({count} traces came faster than they could be shown)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Takes a line when told to, and notes it; tells when one has come.
    struct Slow {
        come: Sender<()>,
        go: Receiver<()>,
        lines: Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Who asks no more has seen enough.
            let _ = self.come.send(());
            self.go.recv().map_err(io::Error::other)?;
            self.lines
                .send(String::from_utf8_lossy(bytes).into_owned())
                .map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_comes_too_fast_is_counted_and_not_kept() {
        let ((come, arrived), (tell, go), (lines, seen)) = (channel(), channel(), channel());
        let mut printer = Printer::to(Slow { come, go, lines });
        let sent = WAITING * 2;
        printer.print("0".to_owned()).unwrap();
        // One is being printed, and the room behind it is empty.
        arrived.recv().unwrap();
        for number in 1..sent {
            printer.print(number.to_string()).unwrap();
        }
        assert_eq!(printer.missed, sent - WAITING - 1);
        let expected = missed(printer.missed);
        // A line and its end.
        for _ in 0..2 * (sent + 1) {
            tell.send(()).unwrap();
        }
        printer.finish().unwrap();
        let text: String = seen.try_iter().collect();
        assert!(text.starts_with("0\n1\n2\n"), "{text}");
        assert!(text.ends_with(&format!("{expected}\n")), "{text}");
    }

    #[test]
    fn nobody_who_reads_is_an_error() {
        let ((come, _), (_, go), (lines, _)) = (channel(), channel(), channel());
        let mut printer = Printer::to(Slow { come, go, lines });
        while printer.print("a".to_owned()).is_ok() {
            std::thread::yield_now();
        }
        assert!(printer.finish().is_err());
    }
}
