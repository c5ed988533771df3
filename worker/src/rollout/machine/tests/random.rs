//! Long random lives, longer than the search goes with the same rules: no rule depends on how it came there.

use proptest::prelude::*;
use proptest::sample::select;

use super::model::{ask, crash, observe, write_and_read};
use super::world::World;
use super::*;

#[derive(Debug, Clone)]
enum Event {
    Seen(Observation),
    Asked(Ask),
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => select(observations()).prop_map(Event::Seen),
        2 => select(ASKS.to_vec()).prop_map(Event::Asked),
        1 => Just(Event::Crash),
    ]
}

/// Weights that the fixed tasks do not have.
fn task() -> impl Strategy<Value = Task> {
    let stages = proptest::collection::btree_set(1..100u8, 0..6);
    (select(tasks()), stages, 1..6usize, 1..4u16).prop_map(|(mut task, stages, targets, batch)| {
        task.settings.canary.stages = stages.into_iter().chain([100]).collect();
        task.settings.batch = batch;
        task.targets = targets;
        task
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        rng_seed: proptest::test_runner::RngSeed::Fixed(4),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_life_breaks_a_rule(task in task(), events in proptest::collection::vec(event(), 1..200)) {
        let mut machine = Machine::begin(task.clone());
        let mut world = World::new(&task);
        world.begin(&machine.action());
        for event in events {
            (machine, world) = match event {
                Event::Seen(seen) => {
                    let (machine, world, _) = observe(&machine, &world, &seen);
                    (machine, world)
                }
                Event::Asked(what) => ask(&machine, &world, what),
                Event::Crash => crash(&write_and_read(&machine), &world),
            };
        }
        // From wherever that led, the driver alone brings it to an end, and soon.
        let mut left = 200;
        while machine.ended().is_none() {
            let seen = good(&machine.action());
            (machine, world, _) = observe(&machine, &world, &seen);
            left -= 1;
            prop_assert!(left > 0, "no end from {:?}", machine.action());
        }
    }
}
