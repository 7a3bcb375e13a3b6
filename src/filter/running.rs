//! A configured filter, from when it is configured until it has gone: what its root and its streams share.

use super::answer;
use super::metrics::Metrics;
use super::open::{Open, OpenStreams};
use super::process::{self, Unsent};
use super::source::{self, Clock, HostOutcome, HostRequest, HostResponse, LastCallback};
use crate::export::ExportCall;
use crate::export::answer::Failure;
use crate::host::{self, Map, NotCalled};
use crate::lifecycle::departure::Departure;
use crate::lifecycle::handover;
use crate::lifecycle::registry::{Registration, Successor};
use crate::probe::{Body, ResponsePart};
use crate::propagation::changes::{Changes, HeaderChange};
use crate::span::OpenSpan;
use crate::tracer::{Lineage, Tracer};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// How often a worker looks for work.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// When it looks next if a batch is full: only the root can send it.
const SOON: Duration = Duration::from_millis(1);

/// How long a filter that goes tries to deliver what it has, where nobody can take that over.
const MAX_DELIVERY: Duration = Duration::from_secs(15);

/// A configured filter.
#[derive(Debug)]
pub struct Running {
    tracer: RefCell<Tracer>,
    clock: Clock,
    metrics: Metrics,
    next_tick: Cell<NextTick>,
    unsent: Unsent,
    registration: RefCell<Registration>,
    stage: Cell<Stage>,
    /// Where streams that last are told of.
    open: Option<OpenStreams>,
}

/// How far a filter is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serves,
    /// It goes when it has delivered what it has or left it to another one; at this time in any case, if there is none.
    Leaving(Duration),
    /// It can go.
    Done,
}

/// When the root looks for work next. Asked for once: each time that the period is set, the host
/// starts it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextTick {
    Usual,
    Soon,
}

/// Whether the host may let go of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    Now,
    Later,
}

impl Running {
    /// A filter that serves from now on.
    pub(super) fn new(
        tracer: Tracer,
        clock: Clock,
        unsent: Unsent,
        registration: Registration,
    ) -> Self {
        // The host may tell a filter to go before its first tick: others must know of this one by then.
        process::change_filters(|table| (Some(registration.enter(table)), ()));
        Self {
            open: tracer.long_streams().map(OpenStreams::new),
            tracer: RefCell::new(tracer),
            clock,
            metrics: Metrics::define(),
            next_tick: Cell::new(NextTick::Usual),
            unsent,
            registration: RefCell::new(registration),
            stage: Cell::new(Stage::Serves),
        }
    }

    /// Starts a request and carries out what becomes of its headers. Gives its span, if it may be kept, and why that is so, if an operator
    /// has asked.
    pub(super) fn start(&self, body: Body) -> (Option<OpenSpan>, Option<String>) {
        let mut tracer = self.tracer.borrow_mut();
        let started = tracer.start(&HostRequest { clock: self.clock, body });
        carry_out(started.changes, Map::Request);
        let started = (started.span, started.explanation);
        if let Some(lineage) = started.0.as_ref().and_then(Lineage::of) {
            source::leave_lineage(lineage);
        }
        expose(&mut tracer);
        started
    }

    /// Starts a request that ends before it reached this filter.
    pub(super) fn start_late(&self) -> Option<OpenSpan> {
        let request = HostRequest { clock: self.clock, body: Body::Possible };
        let mut tracer = self.tracer.borrow_mut();
        let span = tracer.start_late(&request);
        expose(&mut tracer);
        span
    }

    /// Notes what a response says, and carries out what becomes of it.
    pub(super) fn respond(&self, span: &mut OpenSpan, part: ResponsePart) {
        let mut tracer = self.tracer.borrow_mut();
        let changes = tracer.respond(span, &HostResponse { clock: self.clock, part });
        carry_out(changes, source::map_of(part));
        expose(&mut tracer);
    }

    /// Notes the response's headers, if any is wanted.
    pub(super) fn note_response_headers(&self, span: &mut OpenSpan) {
        let mut tracer = self.tracer.borrow_mut();
        if tracer.wants_response_headers() {
            tracer.note_response_headers(span, source::response_headers());
        }
    }

    /// Says of a request of this stream context that it has started: to filters in the cluster, and to the root, if it may have to tell of it.
    #[inline(never)] // What each request has is not here.
    pub(super) fn announce(&self, span: &OpenSpan, context: u32) -> Option<Rc<Open>> {
        if let Some(client) = span.client() {
            source::tell_client_span(client);
        }
        // Of an attempt that lasts its request tells.
        let open = self.open.as_ref().filter(|_| span.attempt().is_none());
        open.map(|open| open.add(context, self.clock.now()))
    }

    /// The root need not reach a request any more.
    pub(super) fn forget(&self, request: &Open) {
        if let Some(open) = &self.open {
            open.remove(request);
        }
    }

    /// Ends a request, in this callback.
    pub(super) fn end(&self, span: OpenSpan, callback: LastCallback) {
        let mut tracer = self.tracer.borrow_mut();
        if let Some(mark) = tracer.end(span, &HostOutcome { clock: self.clock, callback }) {
            source::leave_mark(mark);
        }
        expose(&mut tracer);
        if tracer.has_full_batch() && self.next_tick.replace(NextTick::Soon) == NextTick::Usual {
            host::set_tick_period(SOON);
        }
    }

    /// Tells of the requests that have lasted long. The root has this id.
    fn tell_open(&self, open: &OpenStreams, root: u32) {
        // Headers can't be read, as in the last callback.
        let request = HostOutcome { clock: self.clock, callback: LastCallback::Drop };
        open.tell(self.clock.now(), &mut |context, span| {
            host::act_for(context);
            let again = self.tracer.borrow_mut().tell_open(span, &request);
            host::act_for(root);
            again
        });
    }

    /// The root of this id looks for work.
    pub(super) fn tick(&self, root: u32) -> Release {
        if let Some(open) = &self.open
            && self.stage.get() == Stage::Serves
        {
            self.tell_open(open, root);
        }
        if self.next_tick.replace(NextTick::Usual) == NextTick::Soon {
            host::set_tick_period(TICK);
        }
        self.export()
    }

    /// The call was answered: the current callback has the answer.
    pub(super) fn answered(&self, call: u32, headers: usize, body_size: usize) -> Release {
        let protocol = self.tracer.borrow().protocol();
        answer::with(protocol, headers, body_size, |answer| {
            self.tracer.borrow_mut().handle_answer(call, answer, self.clock.now());
        });
        self.export()
    }

    /// Sends what is due, unless a call is under way, and tells the host what was counted.
    fn export(&self) -> Release {
        let mut tracer = self.tracer.borrow_mut();
        let now = self.clock.now();
        match self.stage.get() {
            Stage::Serves => self.deliver(&mut tracer, now),
            Stage::Leaving(until) => self.finish(&mut tracer, now, until),
            Stage::Done => {}
        }
        self.report(&mut tracer, now);
        self.release()
    }

    /// Sends what is due, of others with the same destination, too.
    fn deliver(&self, tracer: &mut Tracer, now: Duration) {
        while tracer.can_take_over()
            && let Some(message) = self.unsent.take()
        {
            tracer.take_over(handover::Unsent::read(&message));
        }
        send(tracer, now);
    }

    /// Who else delivers to the same destination.
    fn successor(&self) -> Successor {
        self.registration.borrow().successor(&process::filters(), source::unix_time())
    }

    /// The host tells the filter to go: its configuration was replaced, or the worker ends.
    pub(super) fn depart(&self, departure: Departure) -> Release {
        let mut tracer = self.tracer.borrow_mut();
        let now = self.clock.now();
        // Before it looks for a successor: of those that go at the same time, no two may take each other for one.
        self.registration.replace_with(|it| it.clone().leaving());
        self.report(&mut tracer, now);
        match departure {
            Departure::Stays => self.finish(&mut tracer, now, now + MAX_DELIVERY),
            Departure::AtOnce => {
                if self.successor() != Successor::None {
                    say_no_room(tracer.hand_over_all(|message| self.unsent.push(message)));
                }
                self.leave(&mut tracer);
            }
        }
        self.report(&mut tracer, now);
        self.release()
    }

    /// Leaves what waits to a filter that serves, and stays for the answer to what is on its way; or delivers everything where there is none.
    fn finish(&self, tracer: &mut Tracer, now: Duration, until: Duration) {
        self.stage.set(Stage::Leaving(until));
        if self.successor() == Successor::Live {
            say_no_room(tracer.hand_over(|message| self.unsent.push(message)));
            // One that has begun to go meanwhile may have looked for it too early.
            if !tracer.is_in_flight(now) && self.successor() == Successor::Live {
                self.leave(tracer);
            } else {
                self.stage.set(Stage::Leaving(now + MAX_DELIVERY));
            }
        } else {
            self.deliver(tracer, now);
            if !tracer.has_work() || now >= until {
                self.leave(tracer);
            }
        }
    }

    fn release(&self) -> Release {
        if self.stage.get() == Stage::Done { Release::Now } else { Release::Later }
    }

    /// Takes the filter off the table. What it still has is lost, and so is what others left, if nobody is there any more who could deliver it.
    fn leave(&self, tracer: &mut Tracer) {
        self.stage.set(Stage::Done);
        let registration = self.registration.borrow();
        let left = process::change_filters(|table| {
            let (table, successor) = registration.leave(table, source::unix_time());
            (Some(table), successor)
        });
        let mut lost = tracer.shut_down();
        // Nobody hands over to the one who leaves last: each does that before it leaves.
        if left == Some(Successor::None) {
            lost += lose_all(tracer, &self.unsent);
        }
        say_lost("the filter goes, and no other one delivers its spans", lost);
    }

    /// The host has let go of the filter: no answer will come any more.
    pub(super) fn dropped(&self) {
        if self.stage.get() != Stage::Done {
            let mut tracer = self.tracer.borrow_mut();
            self.leave(&mut tracer);
            self.report(&mut tracer, self.clock.now());
        }
    }

    /// Tells the host what was counted, and others what is held.
    fn report(&self, tracer: &mut Tracer, now: Duration) {
        let held = tracer.held();
        if self.stage.get() != Stage::Done && self.registration.borrow().is_due(held, now) {
            let update = process::change_filters(|table| {
                let mut update =
                    self.registration.borrow().update(table, held, now, source::unix_time());
                (update.table.take(), update)
            });
            if let Some(update) = update {
                tracer.note(&update.findings);
                for destination in update.findings.orphaned {
                    let lost = lose_all(tracer, &Unsent::open(destination, 0));
                    say_lost("the filters that delivered to another collector are no more", lost);
                }
                self.registration.replace(update.registration);
            }
        }
        self.metrics.record(tracer.take_stats());
    }
}

/// Tells access logs of the current request's trace, if they are to be told.
fn expose(tracer: &mut Tracer) {
    if let Some(exposed) = tracer.take_exposed() {
        source::expose(&exposed);
    }
}

/// Carries out what becomes of headers.
fn carry_out(changes: &Changes, map: Map) {
    for change in changes.iter() {
        match change {
            HeaderChange::Add(name, value) => host::add_header(map, name, value),
            HeaderChange::Replace(name, value) => host::set_header(map, name, value),
            HeaderChange::Remove(name) => host::remove_header(map, name),
        }
    }
}

/// Counts as lost all that waits for a destination. Gives how many spans that are.
fn lose_all(tracer: &mut Tracer, unsent: &Unsent) -> usize {
    let messages = std::iter::from_fn(|| unsent.take());
    messages.map(|message| tracer.lose_unsent(&handover::Unsent::read(&message))).sum()
}

fn say_no_room(lost: usize) {
    say_lost("there is no room for what the filter leaves to others", lost);
}

fn say_lost(why: &str, lost: usize) {
    if lost > 0 {
        log::warn!("{why}: {lost} were lost");
    }
}

/// Makes the calls that are due. One that the host refuses makes room for the next batch; the queue ends this.
fn send(tracer: &mut Tracer, now: Duration) {
    if !tracer.has_work() {
        return;
    }
    while let Some(call) = tracer.poll_export(now) {
        match make(&call) {
            Ok(call) => tracer.handle_called(call),
            Err(failure) => tracer.handle_not_called(failure, now),
        }
    }
}

fn make(call: &ExportCall<'_>) -> Result<u32, Failure> {
    host::call(call.cluster, call.headers, call.body.bytes, call.timeout).map_err(|why| match why {
        NotCalled::NoCluster => Failure::NoCluster,
        NotCalled::NoUpstream => Failure::NoUpstream,
    })
}
