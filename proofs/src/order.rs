//! The order of events, answers, sweeps and cursors, as a model that is gone through to its end.
//!
//! Stripe has objects that are made, change once and are settled then; it may make no event of
//! either, lose it, and list an object late. The desk stores events under the next number of its
//! sequence, asks under the next one, and may ask twice at the same time; a question may die. A
//! sweep reads the list from its cursor on, adds what differs, and moves the cursor; it may die in
//! between. The desk's clock steps.
//!
//! What must hold in every state:
//! - no answer that is older than the newest wins: what a concluded event reported stands in
//!   the file;
//! - a difference that persists is requested again: an event waits, or a request is under way,
//!   or a sweep or the look at what is not settled will find it.

use std::collections::BTreeSet;
use std::time::Instant;

use stateright::{Checker, Model, Property};

/// Objects at Stripe, at most.
const OBJECTS: usize = 2;

/// How much of what was seen is looked at again, and how late a list may be.
const OVERLAP: u8 = 1;

/// What an object says of itself; 0 is that there is none.
const OPEN: u8 = 1;
const SETTLED: u8 = 2;

/// A rule of the desk's that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    LastAnswerWins,
    NewerByTheClock,
    AnswerCoversLaterEvents,
    CursorBeforeCommit,
    NoOverlap,
    LookupOnlyOnce,
    UnsettledNotLookedAt,
}

const BUGS: [Bug; 7] = [
    Bug::LastAnswerWins,
    Bug::NewerByTheClock,
    Bug::AnswerCoversLaterEvents,
    Bug::CursorBeforeCommit,
    Bug::NoOverlap,
    Bug::LookupOnlyOnce,
    Bug::UnsettledNotLookedAt,
];

/// The world, and how far it is gone through.
#[derive(Clone)]
struct World {
    objects: usize,
    /// Questions at the same time.
    questions: usize,
    /// Stripe makes events; else everything is found by looking for it.
    events: bool,
    /// Time goes on until then, the sequence until there, and so often something dies.
    until: u8,
    sequence: u8,
    deaths: u8,
    bug: Option<Bug>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Object {
    state: u8,
    made_at: u8,
    /// Stripe's list shows it.
    listed: bool,
}

/// An event that waits. What it tells is known to this model only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Event {
    object: usize,
    seq: u8,
    tells: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Question {
    object: usize,
    asked: u8,
    /// What Stripe said, and when by the desk's clock.
    answer: Option<(u8, u8)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Row {
    state: u8,
    asked: u8,
    as_of: u8,
}

/// A list that was read, and how far it has been dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sweep {
    seen: [u8; OBJECTS],
    newest: u8,
    first_step_done: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    /// The desk's clock is ahead.
    ahead: bool,
    stripe: [Object; OBJECTS],
    /// Events that Stripe made and has not delivered: an object, and its state.
    on_the_way: BTreeSet<(usize, u8)>,
    seq: u8,
    pending: BTreeSet<Event>,
    in_hand: BTreeSet<Question>,
    rows: [Row; OBJECTS],
    /// What concluded events reported of an object.
    told: [u8; OBJECTS],
    /// An event of our own making was stored before.
    looked_up: [bool; OBJECTS],
    sweep: Option<Sweep>,
    cursor: u8,
    deaths: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Happens { object: usize, with_event: bool },
    Lists(usize),
    TimePasses,
    ClockSteps,
    Arrives(usize, u8),
    IsLost(usize, u8),
    Asks(usize),
    IsAnswered(Question),
    Finishes(Question),
    QuestionDies(Question),
    SweepReads,
    SweepGoesOn,
    SweepDies,
    LooksAtUnsettled(usize),
}

impl World {
    fn since(&self, state: &State) -> u8 {
        let overlap = if self.bug == Some(Bug::NoOverlap) { 0 } else { OVERLAP };
        state.cursor.saturating_sub(overlap)
    }

    /// Stores an event of our own making, unless one waits.
    fn look_up(&self, state: &mut State, object: usize, tells: u8) {
        let waits = state.pending.iter().any(|event| event.object == object);
        let once = self.bug == Some(Bug::LookupOnlyOnce) && state.looked_up[object];
        if waits || once {
            return;
        }
        state.looked_up[object] = true;
        state.seq += 1;
        state.pending.insert(Event { object, seq: state.seq, tells });
    }

    fn apply(&self, state: &mut State, question: Question, (said, as_of): (u8, u8)) {
        let Question { object, asked, .. } = question;
        let row = &mut state.rows[object];
        let is_newer = match self.bug {
            Some(Bug::LastAnswerWins) => true,
            Some(Bug::NewerByTheClock) => as_of >= row.as_of,
            _ => asked > row.asked,
        };
        if is_newer {
            *row = Row { state: said, asked, as_of };
        }
        let covers = |event: &Event| {
            event.object == object
                && (event.seq < asked || self.bug == Some(Bug::AnswerCoversLaterEvents))
        };
        for event in state.pending.iter().filter(|event| covers(event)) {
            state.told[object] = state.told[object].max(event.tells);
        }
        state.pending.retain(|event| !covers(event));
    }

    /// The two steps of a sweep that has read: what differs is stored, and the cursor moves.
    fn sweep_on(&self, state: &mut State, mut sweep: Sweep) {
        let cursor_first = self.bug == Some(Bug::CursorBeforeCommit);
        if sweep.first_step_done == cursor_first {
            for object in 0..self.objects {
                let seen = sweep.seen[object];
                if seen > 0 && seen != state.rows[object].state {
                    self.look_up(state, object, seen);
                }
            }
        } else {
            state.cursor = state.cursor.max(sweep.newest);
        }
        let over = std::mem::replace(&mut sweep.first_step_done, true);
        state.sweep = (!over).then_some(sweep);
    }

    /// Something will still ask about this object.
    fn is_asked_again(&self, state: &State, object: usize) -> bool {
        let Object { made_at, .. } = state.stripe[object];
        let row = state.rows[object];
        let can_look_up = self.bug != Some(Bug::LookupOnlyOnce) || !state.looked_up[object];
        let unsettled = row.state == OPEN && self.bug != Some(Bug::UnsettledNotLookedAt);
        state.pending.iter().any(|event| event.object == object)
            || can_look_up && (unsettled || made_at >= self.since(state))
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            ahead: false,
            stripe: Default::default(),
            on_the_way: BTreeSet::new(),
            seq: 0,
            pending: BTreeSet::new(),
            in_hand: BTreeSet::new(),
            rows: Default::default(),
            told: Default::default(),
            looked_up: Default::default(),
            sweep: None,
            cursor: 0,
            deaths: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let may_count = state.seq < self.sequence;
        let may_die = state.deaths < self.deaths;
        for object in 0..self.objects {
            if state.stripe[object].state < SETTLED {
                if self.events {
                    actions.push(Action::Happens { object, with_event: true });
                }
                actions.push(Action::Happens { object, with_event: false });
            }
            if state.stripe[object].state > 0 && !state.stripe[object].listed {
                actions.push(Action::Lists(object));
            }
            let waits = state.pending.iter().any(|event| event.object == object);
            if waits && may_count && state.in_hand.len() < self.questions {
                actions.push(Action::Asks(object));
            }
            if !waits && may_count && state.rows[object].state == OPEN {
                actions.push(Action::LooksAtUnsettled(object));
            }
        }
        // A list is not later than the overlap.
        let is_late = |object: &Object| {
            object.state > 0 && !object.listed && object.made_at + OVERLAP <= state.now
        };
        if state.now < self.until && !state.stripe.iter().any(is_late) {
            actions.push(Action::TimePasses);
        }
        if self.bug == Some(Bug::NewerByTheClock) && !state.in_hand.is_empty() {
            actions.push(Action::ClockSteps);
        }
        for (object, tells) in &state.on_the_way {
            actions.push(Action::IsLost(*object, *tells));
            if may_count {
                actions.push(Action::Arrives(*object, *tells));
            }
        }
        for question in &state.in_hand {
            match question.answer {
                None => actions.push(Action::IsAnswered(*question)),
                Some(_) => actions.push(Action::Finishes(*question)),
            }
            if may_die {
                actions.push(Action::QuestionDies(*question));
            }
        }
        match state.sweep {
            None => actions.push(Action::SweepReads),
            Some(_) if state.seq + self.objects as u8 <= self.sequence => {
                actions.push(Action::SweepGoesOn);
            }
            Some(_) => {}
        }
        if state.sweep.is_some() && may_die {
            actions.push(Action::SweepDies);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Happens { object, with_event } => {
                let it = &mut state.stripe[object];
                it.state += 1;
                if it.state == OPEN {
                    it.made_at = state.now;
                }
                if with_event {
                    state.on_the_way.insert((object, it.state));
                }
            }
            Action::Lists(object) => state.stripe[object].listed = true,
            Action::TimePasses => state.now += 1,
            Action::ClockSteps => state.ahead = !state.ahead,
            Action::Arrives(object, tells) => {
                state.on_the_way.remove(&(object, tells));
                state.seq += 1;
                state.pending.insert(Event { object, seq: state.seq, tells });
            }
            Action::IsLost(object, tells) => drop(state.on_the_way.remove(&(object, tells))),
            Action::Asks(object) => {
                state.seq += 1;
                state.in_hand.insert(Question { object, asked: state.seq, answer: None });
            }
            Action::IsAnswered(question) => {
                state.in_hand.remove(&question);
                // The clock counts only where a bug lets it count.
                let by_the_clock = state.now + if state.ahead { 10 } else { 0 };
                let as_of = if self.bug == Some(Bug::NewerByTheClock) { by_the_clock } else { 0 };
                let answer = Some((state.stripe[question.object].state, as_of));
                state.in_hand.insert(Question { answer, ..question });
            }
            Action::Finishes(question) => {
                state.in_hand.remove(&question);
                self.apply(&mut state, question, question.answer?);
            }
            Action::QuestionDies(question) => {
                state.in_hand.remove(&question);
                state.deaths += 1;
            }
            Action::SweepReads => {
                let mut sweep = Sweep { seen: [0; OBJECTS], newest: 0, first_step_done: false };
                for (object, it) in state.stripe.iter().enumerate() {
                    if it.listed && it.made_at >= self.since(&state) {
                        sweep.seen[object] = it.state;
                        sweep.newest = sweep.newest.max(it.made_at);
                    }
                }
                state.sweep = Some(sweep);
            }
            Action::SweepGoesOn => self.sweep_on(&mut state, last.sweep?),
            Action::SweepDies => {
                state.sweep = None;
                state.deaths += 1;
            }
            Action::LooksAtUnsettled(object) => {
                let tells = state.stripe[object].state.min(OPEN);
                self.look_up(&mut state, object, tells);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no older answer wins", |_, state: &State| {
                (0..OBJECTS).all(|object| state.rows[object].state >= state.told[object])
            }),
            Property::always(
                "a difference that persists is asked about again",
                |world: &World, state: &State| {
                    (0..OBJECTS).all(|object| {
                        state.rows[object].state == state.stripe[object].state
                            || world.is_asked_again(state, object)
                    })
                },
            ),
            // Or nothing was tried.
            Property::sometimes(
                "the file says all that Stripe says",
                |world: &World, state: &State| {
                    (0..world.objects).all(|object| state.rows[object].state == SETTLED)
                },
            ),
        ]
    }
}

/// Goes through both worlds, then through each with every bug.
pub fn go_through() {
    let began = Instant::now();
    let worlds = [
        // One object, and everything that can happen around it.
        World {
            objects: 1,
            questions: 2,
            events: true,
            until: 1,
            sequence: 6,
            deaths: 1,
            bug: None,
        },
        // Two, so that a cursor can pass one of them by.
        World {
            objects: 2,
            questions: 1,
            events: false,
            until: 2,
            sequence: 5,
            deaths: 1,
            bug: None,
        },
    ];
    let mut states = 0;
    let mut faults = 0;
    for world in &worlds {
        let checked = world.clone().checker().threads(2).spawn_dfs().join();
        states += checked.unique_state_count();
        for (property, path) in checked.discoveries() {
            if property != "the file says all that Stripe says" {
                println!("{property}: {:#?}", path.into_actions());
                faults += 1;
            }
        }
    }
    println!("proof: {states} states|–|{faults}|–");
    eprintln!("{:.0} s", began.elapsed().as_secs_f64());
    let mut silent = 0;
    for bug in BUGS {
        let found = worlds.iter().find_map(|world| {
            let world = World { bug: Some(bug), ..world.clone() };
            let checked = world.checker().threads(2).spawn_bfs().join();
            checked
                .discoveries()
                .into_iter()
                .find(|(property, _)| *property != "the file says all that Stripe says")
                .map(|(property, path)| (property, path.into_actions().len()))
        });
        match found {
            Some((property, steps)) => {
                println!("control: {bug:?}: not \"{property}\" after {steps} steps");
            }
            None => {
                println!("{bug:?} is not seen");
                silent += 1;
            }
        }
    }
    if faults + silent > 0 {
        std::process::exit(1);
    }
}
