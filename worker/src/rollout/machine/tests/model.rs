//! Every state that can be reached, of every strategy and setting, met with everything that can be seen and asked, with the
//! world's rules ([`super::world`]) on every edge.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::world::World;
use super::*;

/// Whether the contract says that this may be seen during that.
fn belongs(action: &Action, seen: &Observation) -> bool {
    use Observation as O;
    match action {
        Action::Launch { .. } | Action::Route { .. } | Action::Drain | Action::Retire { .. } => {
            matches!(seen, O::Done | O::Failed { .. })
        }
        Action::AwaitHealthy { .. } => matches!(seen, O::Healthy | O::Unhealthy(_) | O::Failed { .. }),
        Action::Look => matches!(seen, O::Looked { .. } | O::Failed { .. }),
        Action::Observe { .. } | Action::Watch | Action::Hold { .. } => {
            matches!(seen, O::Sample(_) | O::Failed { .. })
        }
        Action::End(_) => false,
    }
}

pub(super) fn observe(machine: &Machine, world: &World, seen: &Observation) -> (Machine, World, Changed) {
    let (same, mut machine, mut world, before) = (machine, machine.clone(), world.clone(), machine.action());
    let changed = machine.observe(seen);
    if !belongs(&before, seen) {
        assert_eq!(&machine, same, "{before:?} does not fit {seen:?}");
        assert_eq!(changed, Changed::No);
        return (machine, world, changed);
    }
    let after = machine.action();
    assert_eq!(changed.is_yes(), before != after, "{before:?} saw {seen:?}, now {after:?}");
    world.learn(&before, seen);
    if machine.turning().is_some() {
        world.turned();
    }
    if changed.is_yes() {
        world.begin(&after);
    }
    (machine, world, changed)
}

pub(super) fn ask(machine: &Machine, world: &World, ask: Ask) -> (Machine, World) {
    let (mut machine, mut world, before) = (machine.clone(), world.clone(), machine.clone());
    let nothing_left = machine.ended().is_some() || machine.turning().is_some();
    let answer = machine.ask(ask);
    match answer {
        Answer::Nothing => assert_eq!(machine, before, "{ask:?}"),
        Answer::Taken => {
            assert!(!nothing_left && machine != before, "{ask:?}");
            world.ask(ask);
            // What is finished first is not begun again.
            if machine.action() != before.action() {
                world.begin(&machine.action());
            }
        }
    }
    assert!(answer == Answer::Taken || !matches!(ask, Ask::Abort | Ask::Cancel) || nothing_left);
    let once = machine.clone();
    assert_eq!(machine.ask(ask), Answer::Nothing, "{ask:?} twice in {:?}", before.action());
    assert_eq!(machine, once, "{ask:?} twice");
    (machine, world)
}

pub(super) fn crash(machine: &Machine, world: &World) -> (Machine, World) {
    let mut back = machine.clone();
    back.resumed();
    let once = back.clone();
    back.resumed();
    assert_eq!(back, once, "taken over twice");
    let mut world = world.clone();
    world.crash(&machine.action());
    if back.turning().is_some() {
        world.turned();
    }
    if back.action() != machine.action() {
        world.begin(&back.action());
    }
    (back, world)
}

pub(super) fn write_and_read(machine: &Machine) -> Machine {
    let text = serde_json::to_string(machine).expect("serializes");
    let back: Machine = serde_json::from_str(&text).expect("deserializes");
    assert_eq!(&back, machine, "{text}");
    back
}

#[derive(Default)]
struct Graph {
    states: usize,
    /// Of the machine alone, without the world's.
    machines: usize,
    edges: usize,
    /// What was met at all, so that the search is known to have been one.
    met: BTreeSet<String>,
    asked: BTreeMap<(PhaseName, String), usize>,
}

impl Graph {
    fn explore(&mut self, task: &Task) {
        let mut ids: HashMap<String, usize> = HashMap::new();
        let mut nodes: Vec<(Machine, World)> = Vec::new();
        let mut machines: HashSet<String> = HashSet::new();
        let mut steps: Vec<Vec<usize>> = Vec::new();
        let mut ways: Vec<Vec<usize>> = Vec::new();
        let machine = Machine::begin(task.clone());
        let mut world = World::new(task);
        world.begin(&machine.action());
        // Most of what is seen does not fit and changes nothing.
        let mut place = |nodes: &mut Vec<(Machine, World)>, at: usize, machine: Machine, world: World| {
            if nodes.get(at).is_some_and(|node| node.0 == machine && node.1 == world) {
                return at;
            }
            *ids.entry(key(&machine) + &world.key()).or_insert_with(|| {
                nodes.push((machine, world));
                nodes.len() - 1
            })
        };
        place(&mut nodes, 0, machine, world);
        let mut at = 0;
        while at < nodes.len() {
            let (machine, world) = nodes[at].clone();
            if machines.insert(key(&machine)) {
                write_and_read(&machine);
            }
            let phase = machine.phase();
            self.met.insert(phase.name.to_string());
            if let Some(ending) = machine.ended() {
                self.met.insert(ending.outcome.to_string());
            }
            assert_eq!(phase.name == PhaseName::Ended, machine.ended().is_some());
            assert_eq!(machine.weights(), world.share);
            steps.push(Vec::new());
            ways.push(Vec::new());
            for seen in observations() {
                let (next, world, changed) = observe(&machine, &world, &seen);
                let to = place(&mut nodes, at, next, world);
                if changed.is_yes() {
                    steps[at].push(to);
                }
                ways[at].push(to);
                self.edges += 1;
            }
            for what in ASKS {
                let (next, world) = ask(&machine, &world, what);
                place(&mut nodes, at, next, world);
                *self.asked.entry((phase.name, format!("{what:?}"))).or_default() += 1;
                self.edges += 1;
            }
            let (next, world) = crash(&machine, &world);
            place(&mut nodes, at, next, world);
            self.edges += 1;
            at += 1;
        }
        self.states += nodes.len();
        self.machines += machines.len();
        assert_acyclic(&steps);
        assert_ends(&nodes, &ways);
    }
}

/// All of it but the task, which is the same in all of a search, and of a reason only which one it is: nothing follows
/// from its words.
fn key(machine: &Machine) -> String {
    let Machine {
        task: _,
        course,
        moves,
        aim,
        doing,
        hold,
        promoted,
        turn,
        bad_looks,
        reached,
        weights,
        launched,
        old_ended,
        ended,
    } = machine;
    let why = |why: Option<&Why>| why.map(std::mem::discriminant);
    let path = (course, moves, aim, doing, hold.is_some(), promoted, why(turn.as_ref()));
    let ended = ended.as_ref().map(|ending| (ending.outcome, why(ending.why.as_ref())));
    format!("{path:?}{:?}", (bad_looks, reached, weights, launched, old_ended, ended))
}

/// Without people and crashes no action comes back: nothing goes round for ever.
fn assert_acyclic(steps: &[Vec<usize>]) {
    let mut waits: Vec<usize> = vec![0; steps.len()];
    steps.iter().flatten().for_each(|to| waits[*to] += 1);
    let mut free: Vec<usize> = (0..steps.len()).filter(|node| waits[*node] == 0).collect();
    let mut gone = 0;
    while let Some(node) = free.pop() {
        gone += 1;
        for to in &steps[node] {
            waits[*to] -= 1;
            if waits[*to] == 0 {
                free.push(*to);
            }
        }
    }
    assert_eq!(gone, steps.len(), "some actions follow each other in a circle");
}

/// From everywhere there is a way to the end that needs nobody.
fn assert_ends(nodes: &[(Machine, World)], ways: &[Vec<usize>]) {
    let mut from: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (node, tos) in ways.iter().enumerate() {
        tos.iter().for_each(|to| from[*to].push(node));
    }
    let mut ends: Vec<bool> = nodes.iter().map(|(machine, _)| machine.ended().is_some()).collect();
    let mut open: Vec<usize> = (0..nodes.len()).filter(|node| ends[*node]).collect();
    while let Some(node) = open.pop() {
        for before in &from[node] {
            if !std::mem::replace(&mut ends[*before], true) {
                open.push(*before);
            }
        }
    }
    let stuck = ends.iter().position(|end| !end);
    assert!(stuck.is_none(), "no way to the end from {:?}", stuck.map(|node| &nodes[node]));
}

#[test]
fn every_state_of_every_strategy_with_everything_seen_and_asked() {
    let mut graph = Graph::default();
    let tasks = tasks();
    for task in &tasks {
        graph.explore(task);
    }
    println!(
        "{} tasks, {} states of the machine, {} with the world's, {} edges",
        tasks.len(),
        graph.machines,
        graph.states,
        graph.edges
    );
    for phase in PhaseName::ALL {
        assert!(graph.met.contains(phase.as_str()), "{phase} was never met");
        for what in ASKS {
            assert!(graph.asked.contains_key(&(*phase, format!("{what:?}"))), "{what:?} in {phase}");
        }
    }
    for outcome in RolloutOutcome::ALL {
        assert!(graph.met.contains(outcome.as_str()), "{outcome} was never met");
    }
}
