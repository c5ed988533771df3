//! What holds for any engine and any record.

use std::collections::HashSet;
use std::time::Duration;

use deploymind_shared::ids::{AppId, ReleaseId};
use proptest::prelude::*;

use super::world::*;
use crate::collect::*;

/// One image, the release it may be of, the slot it may have; every number small, so that they meet.
#[derive(Debug, Clone)]
struct Thing {
    ours: bool,
    app: u128,
    age: u64,
    bytes: u64,
    rank: Option<usize>,
    recorded: bool,
    ended: bool,
    released: bool,
    serving: bool,
    in_rollout: bool,
    step: bool,
    /// What it is built on, counted back.
    parent: Option<usize>,
    foreign_name: bool,
    in_cache: bool,
    slot: Option<bool>,
    foreign_user: bool,
}

fn thing() -> impl Strategy<Value = Thing> {
    let rare = || prop::bool::weighted(0.15);
    let often = || prop::bool::weighted(0.8);
    (
        (often(), 1..4u128, 0..9u64, 0..50u64, prop::option::of(0..5usize), often(), often(), often()),
        (rare(), rare(), rare(), prop::option::weighted(0.4, 1..4usize), rare(), rare()),
        (prop::option::of(any::<bool>()), rare()),
    )
        .prop_map(|(a, b, c)| Thing {
            ours: a.0,
            app: a.1,
            age: a.2,
            bytes: a.3,
            rank: a.4,
            recorded: a.5,
            ended: a.6,
            released: a.7,
            serving: b.0,
            in_rollout: b.1,
            step: b.2,
            parent: b.3,
            foreign_name: b.4,
            in_cache: b.5,
            slot: c.0,
            foreign_user: c.1,
        })
}

fn world(things: &[Thing], apps: &[u128]) -> World {
    let mut world = World::new();
    world.known.apps = apps.iter().map(|number| app(*number)).collect();
    for (at, thing) in things.iter().enumerate() {
        let number = at as u128;
        if thing.step {
            world.step(thing.app, number, thing.bytes);
        } else if thing.recorded && thing.released {
            world.released(thing.app, number, thing.rank, thing.bytes);
            world.fate(number).serving = thing.serving;
            world.fate(number).in_rollout = thing.in_rollout;
        } else {
            world.image(thing.app, number, thing.bytes);
        }
        if thing.recorded && !thing.step {
            let fate = DeploymentFate { ended: thing.ended, released: thing.released };
            world.known.deployments.insert(deployment(number), fate);
        }
        let below =
            thing.parent.and_then(|back| at.checked_sub(back)).map(|at| world.survey.images[at].clone());
        let image = world.survey.images.last_mut().expect("image");
        image.created = before(thing.age);
        if let Some(below) = below {
            let own = image.layers.pop().expect("own layer");
            image.layers = below.layers;
            image.layers.push(own);
            image.parent = Some(below.id);
        }
        if !thing.ours {
            image.labels.insert(LABEL_FLEET.into(), "other".into());
        }
        if thing.foreign_name {
            image.names.push("mine:latest".into());
        }
        if let Some(layer) = world.survey.layers.get_mut(&format!("sha256:l{number}")) {
            layer.in_cache = thing.in_cache;
        }
        if let Some(running) = thing.slot {
            let slot = world.slot(thing.app, number, running);
            slot.created = before(thing.age);
            if !thing.ours {
                slot.labels.remove(LABEL_FLEET);
            }
        }
        if thing.foreign_user {
            let user = world.slot(thing.app, number, false);
            user.id = format!("foreign{number}");
            user.labels.clear();
        }
    }
    world.survey.cache = Some(CacheUse::default());
    world
}

fn budgets() -> impl Strategy<Value = Budget> {
    let most = || prop::option::of(0..400u64);
    (0..3usize, most(), 0..3usize, most(), any::<bool>()).prop_map(
        |(images_keep, images_max_bytes, slots_keep, cache_max_bytes, cache_is_ours)| Budget {
            images_keep,
            images_max_bytes,
            slots_keep,
            cache_max_bytes,
            cache_is_ours,
            min_age: Duration::from_secs(2 * HOUR),
        },
    )
}

fn fleet_of(labels: &std::collections::HashMap<String, String>) -> bool {
    labels.get(LABEL_FLEET).is_some_and(|fleet| fleet == FLEET)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_plan_is_safe_and_leaves_nothing_to_plan(
        things in prop::collection::vec(thing(), 0..14),
        apps in prop::collection::vec(1..4u128, 0..4),
        budget in budgets(),
    ) {
        let world = world(&things, &apps);
        let plan = world.plan(&budget);
        let going: HashSet<&str> = plan.items.iter().map(|item| item.id.as_str()).collect();
        prop_assert_eq!(going.len(), plan.items.len());
        for image in world.survey.images.iter().filter(|image| going.contains(image.id.as_str())) {
            prop_assert!(fleet_of(&image.labels), "not ours: {:?}", image);
            prop_assert!(image.created <= before(2), "too young");
            prop_assert!(!image.names.iter().any(|name| name == "mine:latest"));
            for fate in world.known.releases.values().filter(|fate| fate.images.contains(&image.id)) {
                prop_assert!(!fate.serving && !fate.in_rollout);
            }
            let used = |container: &&Container| container.image == image.id && !going.contains(container.id.as_str());
            prop_assert!(world.survey.containers.iter().find(used).is_none());
        }
        for slot in world.survey.containers.iter().filter(|slot| going.contains(slot.id.as_str())) {
            prop_assert!(fleet_of(&slot.labels) && slot.created <= before(2));
            let of: AppId = slot.labels[LABEL_APP].parse().expect("app");
            prop_assert!(!slot.running || (!world.known.apps.contains(&of) && !world.known.apps.is_empty()));
            let release: ReleaseId = slot.labels[LABEL_RELEASE].parse().expect("release");
            prop_assert!(world.known.releases.get(&release).is_none_or(|fate| !fate.serving && !fate.in_rollout));
        }
        // In an order in which the engine does not refuse: nothing before what is built on it.
        let place = |id: &str| plan.items.iter().position(|item| item.id == id);
        for image in &world.survey.images {
            let Some(below) = image.parent.as_deref().and_then(place) else { continue };
            prop_assert!(place(&image.id).is_some_and(|own| own < below));
        }
        // Every thing of ours is spoken of once.
        let told = plan.kept.iter().map(|kept| kept.id.as_str()).chain(going.iter().copied());
        let told: Vec<&str> = told.collect();
        let ours = world.survey.images.iter().filter(|image| fleet_of(&image.labels)).map(|image| image.id.as_str());
        for id in ours {
            prop_assert_eq!(told.iter().filter(|told| **told == id).count(), 1);
        }

        // What was promised is what is missing afterwards, and nothing is left to plan.
        let left = after(&world.survey, &plan);
        let sum = |survey: &Survey| -> u64 {
            survey.layers.values().map(|layer| layer.bytes).sum::<u64>()
                + survey.containers.iter().map(|container| container.bytes).sum::<u64>()
                + survey.cache.as_ref().map_or(0, CacheUse::bytes)
        };
        prop_assert_eq!(sum(&world.survey) - sum(&left), plan.bytes());
        let again = super::super::plan(&left, &world.known, &budget, now());
        prop_assert!(again.items.is_empty(), "{:?}\nthen {:?}", plan, again);

        // A budget is kept, or it is said why not.
        if let Some(most) = budget.images_max_bytes
            && !plan.notes.iter().any(|note| note.starts_with("images stay"))
        {
            let foreign: HashSet<&String> =
                left.images.iter().filter(|image| !fleet_of(&image.labels)).flat_map(|image| &image.layers).collect();
            let ours: HashSet<&String> = left
                .images
                .iter()
                .filter(|image| fleet_of(&image.labels) && !image.names.is_empty())
                .flat_map(|image| &image.layers)
                .collect();
            let taken: u64 = ours.difference(&foreign).map(|layer| left.layers[*layer].bytes).sum();
            prop_assert!(taken <= most, "{taken} > {most}: {:?}", plan);
        }
    }
}
