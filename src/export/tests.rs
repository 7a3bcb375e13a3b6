use super::answer::AnswerStatus;
use super::*;
use crate::otlp::gzip::tests::Native;
use crate::otlp::response::PartialSuccess;

const INITIAL: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(4);
const GIVE_UP: Duration = Duration::from_secs(10);
const BUSY: Failure = Failure::Unavailable { status: AnswerStatus::Http(503), retry_after: None };
/// The random number that gives the shortest wait.
const SHORTEST: u64 = 0;

fn exporter() -> Exporter {
    let retry =
        RetryPolicy { initial_interval: INITIAL, max_interval: MAX, max_elapsed_time: GIVE_UP };
    let config = ExporterConfig {
        cluster: "collector".into(),
        protocol: Protocol::HttpProtobuf,
        compression: Compression::None,
        path: "/v1/traces".into(),
        authority: "collector".into(),
        headers: Vec::new(),
        timeout: Duration::from_secs(10),
        retry,
    };
    Exporter::new(config, Box::new(Native))
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Sends what is ready, as call `name`.
fn send(exporter: &mut Exporter, now: Duration, name: u32) {
    match exporter.ready(now) {
        Ready::No => panic!("nothing is ready at {now:?}"),
        Ready::Next => drop(exporter.begin(Batch::of(3), now, |_| &[])),
        Ready::Again => {
            assert_eq!(exporter.spans(), 3, "the batch that it has");
            assert!(exporter.resend(now, |_| &[]).is_some(), "it is there");
        }
    }
    exporter.handle_called(name);
}

fn fail(exporter: &mut Exporter, failure: Failure, now: Duration, name: u32) -> Attempt {
    let outcome = ExportOutcome::Failed(failure);
    exporter.handle_answer(name, outcome, now, SHORTEST).expect("the call is known")
}

fn take(exporter: &mut Exporter, now: Duration, name: u32) -> Attempt {
    let outcome = ExportOutcome::Taken(PartialSuccess::default());
    exporter.handle_answer(name, outcome, now, SHORTEST).expect("the call is known")
}

#[test]
fn a_batch_is_sent_again_after_a_wait_until_it_is_taken() {
    let mut exporter = exporter();
    send(&mut exporter, at(0), 1);
    assert_eq!(exporter.ready(at(0)), Ready::No, "one batch at a time");
    assert!(matches!(fail(&mut exporter, BUSY, at(0), 1), Attempt::Again(BUSY)));
    assert_eq!(exporter.ready(at(0)), Ready::No, "not at once");
    assert!(!exporter.is_idle(), "the batch is kept");
    send(&mut exporter, at(1), 2);
    assert!(matches!(take(&mut exporter, at(1), 2), Attempt::Ended(_, ExportOutcome::Taken(_))));
    assert_eq!(exporter.ready(at(1)), Ready::Next, "the next one goes at once");
}

#[test]
fn a_batch_is_given_up_after_its_time() {
    let mut exporter = exporter();
    let mut tries = 0;
    let mut now = at(0);
    let ended = loop {
        while exporter.ready(now) == Ready::No {
            now += at(1);
        }
        tries += 1;
        send(&mut exporter, now, tries);
        if let Attempt::Ended(batch, outcome) = fail(&mut exporter, BUSY, now, tries) {
            break (batch.spans(), outcome);
        }
    };
    assert_eq!(ended, (3, ExportOutcome::Failed(BUSY)), "for its last failure");
    assert_eq!(now, at(9), "the next try would come too late");
    assert_eq!(exporter.ready(at(9)), Ready::No, "the next batch waits, too");
    assert_eq!(exporter.ready(at(10)), Ready::Next, "and is the probe");
}

#[test]
fn what_may_not_pass_is_not_tried_again() {
    for failure in [Failure::NoCluster, Failure::Refused(AnswerStatus::Http(400))] {
        let mut exporter = exporter();
        for name in 1..=MAX_REFUSALS {
            send(&mut exporter, at(0), name);
            let attempt = fail(&mut exporter, failure, at(0), name);
            assert!(matches!(attempt, Attempt::Ended(_, ExportOutcome::Failed(_))), "{failure:?}");
            assert_eq!(exporter.ready(at(0)), Ready::Next, "{failure:?}: the next may be better");
        }
        send(&mut exporter, at(0), 9);
        fail(&mut exporter, failure, at(0), 9);
        assert_eq!(exporter.ready(at(0)), Ready::No, "{failure:?}: too often in a row");
        assert_eq!(exporter.ready(at(1)), Ready::Next, "{failure:?}: a probe");
    }
}

#[test]
fn the_collector_is_left_alone_for_as_long_as_it_asks() {
    let asks = |seconds| Failure::Unavailable {
        status: AnswerStatus::Http(429),
        retry_after: Some(at(seconds)),
    };
    let mut exporter = exporter();
    send(&mut exporter, at(0), 1);
    assert!(matches!(fail(&mut exporter, asks(7), at(0), 1), Attempt::Again(..)));
    assert_eq!(exporter.ready(at(6)), Ready::No, "longer than the longest wait of ours");
    send(&mut exporter, at(7), 2);
    let attempt = fail(&mut exporter, asks(7), at(7), 2);
    assert!(matches!(attempt, Attempt::Ended(..)), "given up: it asks for more time than there is");
    assert_eq!(exporter.ready(at(13)), Ready::No, "the next batch waits for as long");
    assert_eq!(exporter.ready(at(14)), Ready::Next);

    let mut exporter = self::exporter();
    send(&mut exporter, at(0), 1);
    fail(&mut exporter, asks(0), at(0), 1);
    assert_eq!(exporter.ready(at(0)), Ready::No, "never shorter than the shortest wait of ours");
}

#[test]
fn no_collector_is_left_alone_for_long_whatever_it_asks() {
    let day = at(24 * 60 * 60);
    let statuses = [AnswerStatus::Http(429), AnswerStatus::Http(503), AnswerStatus::Grpc(8)];
    for (status, asked) in statuses.into_iter().zip([day, Duration::MAX, at(301)]) {
        let mut exporter = exporter();
        send(&mut exporter, at(100), 1);
        let failure = Failure::Unavailable { status, retry_after: Some(asked) };
        fail(&mut exporter, failure, at(100), 1);
        assert_eq!(exporter.ready(at(399)), Ready::No, "{status:?}: for five minutes");
        assert_eq!(exporter.ready(at(400)), Ready::Next, "{status:?}: no longer");
    }
    let retry =
        RetryPolicy { initial_interval: at(600), max_interval: at(600), max_elapsed_time: day };
    let mut exporter = Exporter { retry, ..exporter() };
    send(&mut exporter, at(0), 1);
    let failure = Failure::Unavailable { status: AnswerStatus::Http(429), retry_after: Some(day) };
    fail(&mut exporter, failure, at(0), 1);
    assert_eq!(exporter.ready(at(599)), Ready::No, "the configured wait is longer");
    assert_eq!(exporter.ready(at(600)), Ready::Again);
}

#[test]
fn only_the_answer_to_the_call_counts() {
    let mut exporter = exporter();
    send(&mut exporter, at(0), 1);
    let late = || ExportOutcome::Failed(BUSY);
    assert!(exporter.handle_answer(9, late(), at(0), SHORTEST).is_none(), "another call");
    assert!(exporter.handle_not_called(BUSY, at(0), SHORTEST).is_none(), "it was made");
    assert!(exporter.handle_overdue(at(14), SHORTEST).is_none(), "the host may still answer");
    let attempt = exporter.handle_overdue(at(15), SHORTEST).expect("it does not");
    assert!(matches!(attempt, Attempt::Ended(_, ExportOutcome::Failed(Failure::Timeout(None)))));
    assert!(exporter.handle_answer(1, late(), at(15), SHORTEST).is_none(), "it was given up");
}

#[test]
fn a_success_ends_a_row_of_failures() {
    let mut exporter = exporter();
    for round in 0..2 {
        send(&mut exporter, at(round * 10), 1);
        fail(&mut exporter, BUSY, at(round * 10), 1);
        assert!(!exporter.is_eager(), "round {round}: it waits");
        assert_eq!(exporter.ready(at(round * 10)), Ready::No);
        send(&mut exporter, at(round * 10 + 1), 2);
        take(&mut exporter, at(round * 10 + 1), 2);
        assert!(exporter.is_eager(), "round {round}: all is well");
    }
    // A row that goes on is longer than a second, even at its shortest, once chance is on the other side.
    let longest = |exporter: &mut Exporter, now| {
        send(exporter, now, 3);
        let outcome = ExportOutcome::Failed(BUSY);
        exporter.handle_answer(3, outcome, now, 1000);
        (0..10).find(|wait| exporter.ready(now + at(*wait)) != Ready::No)
    };
    assert_eq!(longest(&mut exporter, at(100)), Some(2), "the first of a new row");
}

#[test]
fn after_a_failure_nothing_is_sent_early() {
    let mut exporter = exporter();
    assert!(exporter.is_idle() && exporter.is_eager(), "at first");
    send(&mut exporter, at(0), 1);
    assert!(!exporter.is_eager() && exporter.is_in_flight(), "one batch at a time");
    fail(&mut exporter, Failure::Refused(AnswerStatus::Http(400)), at(0), 1);
    assert!(exporter.is_idle() && !exporter.is_eager(), "it was refused");
}

#[test]
fn a_call_that_was_not_made_is_made_again() {
    let mut exporter = exporter();
    exporter.begin(Batch::of(3), at(0), |_| &[]);
    let attempt = exporter.handle_not_called(Failure::NoUpstream, at(0), SHORTEST);
    assert!(matches!(attempt, Some(Attempt::Again(Failure::NoUpstream))));
    send(&mut exporter, at(1), 1);
}
