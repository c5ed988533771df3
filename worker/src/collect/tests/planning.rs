//! One rule a test.

use super::world::*;
use crate::collect::*;

#[test]
fn newest_deployed_stay_and_the_rest_goes() {
    let mut world = World::new();
    for number in 1..=5 {
        world.released(1, number, Some(number as usize - 1), 10);
    }
    world.fate(2).serving = true;
    let plan = world.plan(&budget());
    // 1 is counted, 2 serves, 3 is the way back.
    assert_eq!(ids(&plan), ["i5", "i4"]);
    assert_eq!(plan.items[0].why, Why::BeyondCount(1));
    assert_eq!(*why(&plan, "i1"), WhyKept::Counted);
    assert_eq!(*why(&plan, "i2"), WhyKept::Serving);
    assert_eq!(*why(&plan, "i3"), WhyKept::WayBack);
    assert_eq!(plan.bytes(), 20);
}

#[test]
fn what_is_needed_stays_whatever_the_budget() {
    let mut world = World::new();
    for number in 1..=4 {
        world.released(1, number, Some(number as usize - 1), 10);
    }
    world.fate(1).serving = true;
    world.fate(3).in_rollout = true;
    world.known.deployments.insert(deployment(4), DeploymentFate { ended: false, released: true });
    let none = Budget { images_keep: 0, images_max_bytes: Some(0), slots_keep: 0, ..budget() };
    let plan = world.plan(&none);
    assert_eq!(ids(&plan), Vec::<&str>::new());
    assert_eq!(*why(&plan, "i1"), WhyKept::Serving);
    assert_eq!(*why(&plan, "i2"), WhyKept::WayBack);
    assert_eq!(*why(&plan, "i3"), WhyKept::Rollout);
    assert_eq!(*why(&plan, "i4"), WhyKept::Deploying);
    assert!(plan.notes[0].starts_with("images stay at 140 B instead of 0 B"), "{:?}", plan.notes);
}

#[test]
fn bytes_let_the_oldest_go_and_shared_layers_count_once() {
    let mut world = World::new();
    for number in 2..=6 {
        world.released(1, number, Some(number as usize - 2), 10);
    }
    let most = Budget { images_keep: 9, images_max_bytes: Some(130), ..budget() };
    let plan = world.plan(&most);
    assert_eq!(ids(&plan), ["i6", "i5"]);
    assert_eq!(plan.items[0].why, Why::BeyondBytes(130));
    assert_eq!(plan.bytes(), 20);
    assert_eq!(plan.notes, Vec::<String>::new());
    // A base that somebody else has is not ours to count.
    let base = Image { labels: Default::default(), ..world.survey.images[0].clone() };
    world.survey.images.push(Image {
        id: "sha256:foreign".into(),
        layers: vec!["sha256:base".into()],
        names: vec!["base:1".into()],
        ..base
    });
    assert_eq!(ids(&world.plan(&most)), Vec::<&str>::new());
}

#[test]
fn orphans_go_by_what_the_record_has_lost() {
    let mut world = World::new();
    world.image(2, 3, 10);
    world.image(1, 4, 10);
    world.image(1, 5, 10);
    world.known.deployments.insert(deployment(5), DeploymentFate { ended: true, released: false });
    world.released(1, 6, None, 10);
    world.image(1, 0, 10);
    let plan = world.plan(&budget());
    let reasons: Vec<_> = plan.items.iter().map(|item| (item.id.as_str(), &item.why)).collect();
    assert_eq!(
        reasons,
        [
            ("sha256:i6", &Why::Undeployed),
            ("sha256:i5", &Why::Unreleased),
            ("sha256:i4", &Why::DeploymentGone),
            ("sha256:i3", &Why::AppGone),
        ]
    );
    assert_eq!(*why(&plan, "i0"), WhyKept::Young);
    // Of a record without apps nothing follows.
    world.known.apps.clear();
    assert_eq!(ids(&world.plan(&budget())), Vec::<&str>::new());
}

#[test]
fn slots_by_epoch_and_running_ones_only_without_their_app() {
    let mut world = World::new();
    for number in 1..=4 {
        world.released(1, number, Some(number as usize - 1), 10);
        world.slot(1, number, number == 1);
    }
    world.fate(1).serving = true;
    world.slot(1, 7, true);
    world.slot(2, 8, true);
    world.slot(1, 9, false);
    let plan = world.plan(&budget());
    let slots: Vec<_> = plan.items.iter().filter(|item| item.kind == Kind::Slot).collect();
    let read: Vec<_> = slots.iter().map(|item| (item.id.as_str(), &item.why, item.stop)).collect();
    assert_eq!(
        read,
        [
            ("c3", &Why::BeyondCount(1), false),
            ("c4", &Why::BeyondCount(1), false),
            ("c9", &Why::ReleaseGone, false),
            ("c8", &Why::AppGone, true),
        ]
    );
    assert_eq!(*why(&plan, "c1"), WhyKept::Serving);
    assert_eq!(*why(&plan, "c2"), WhyKept::Counted);
    assert_eq!(*why(&plan, "c7"), WhyKept::Runs);
    // What only a collected slot uses goes with it; what a kept one uses stays.
    assert!(ids(&plan).contains(&"i4"), "{plan:?}");
    assert_eq!(*why(&plan, "i2"), WhyKept::UsedBy("dm-app-2".into()));
}

#[test]
fn a_slot_is_taken_or_left_with_all_its_copies() {
    let mut world = World::new();
    world.released(1, 5, Some(0), 10);
    world.slot(1, 5, false);
    let copy = Container { id: "second".into(), running: true, ..world.survey.containers[0].clone() };
    world.survey.containers.push(copy);
    let plan = world.plan(&Budget { slots_keep: 0, ..budget() });
    assert_eq!(*why(&plan, "c5"), WhyKept::Runs);
    assert_eq!(*why(&plan, "second"), WhyKept::Runs);
}

#[test]
fn others_things_are_never_named_and_keep_what_they_use() {
    let mut world = World::new();
    for number in 4..=8 {
        world.released(1, number, Some(number as usize), 10);
    }
    world.survey.images[0].names.push("backup:latest".into());
    world.slot(1, 5, false).labels.clear();
    let child = Image {
        id: "sha256:child".into(),
        parent: Some("sha256:i6".into()),
        labels: Default::default(),
        ..world.survey.images[2].clone()
    };
    world.survey.images.push(child);
    // The same fleet's edge, another fleet's slot, a prefix of our fleet's name.
    world.slot(1, 7, false).labels.insert(LABEL_ROLE.into(), "edge".into());
    world.survey.images[4].labels.insert(LABEL_FLEET.into(), "test".into());
    let plan = world.plan(&Budget { images_keep: 0, slots_keep: 0, ..budget() });
    assert_eq!(ids(&plan), Vec::<&str>::new());
    assert_eq!(*why(&plan, "i4"), WhyKept::ForeignName("backup:latest".into()));
    assert_eq!(*why(&plan, "i5"), WhyKept::UsedBy("dm-app-5".into()));
    assert!(matches!(why(&plan, "i6"), WhyKept::BuiltOn(_)));
    assert_eq!(*why(&plan, "i7"), WhyKept::UsedBy("dm-app-7".into()));
    assert!(
        !plan.kept.iter().any(|kept| ["sha256:i8", "c5", "c7", "sha256:child"].contains(&kept.id.as_str()))
    );
}

#[test]
fn what_somebody_built_on_ours_has_our_labels_and_stays() {
    for by_history in [false, true] {
        let mut world = World::new();
        let ours = world.released(1, 5, Some(3), 10).clone();
        let (parent, continues) =
            if by_history { (None, vec![ours.id.clone()]) } else { (Some(ours.id.clone()), Vec::new()) };
        world.survey.images.push(Image { id: "sha256:d".into(), names: vec![], parent, continues, ..ours });
        let plan = world.plan(&Budget { images_keep: 0, ..budget() });
        assert_eq!(*why(&plan, "d"), WhyKept::Derived);
        assert!(matches!(why(&plan, "i5"), WhyKept::BuiltOn(_)));
    }
}

#[test]
fn steps_stay_for_the_next_build_until_their_budget_is_spent() {
    let mut world = World::new();
    world.released(1, 2, Some(0), 10).parent = Some("sha256:i3".into());
    world.fate(2).serving = true;
    world.step(1, 3, 20);
    world.survey.images[0].layers = vec!["sha256:base".into(), "sha256:l3".into(), "sha256:l2".into()];
    world.step(1, 4, 30);
    world.step(1, 5, 40).parent = Some("sha256:i6".into());
    world.step(1, 6, 50);
    world.survey.images[3].layers = vec!["sha256:base".into(), "sha256:l6".into(), "sha256:l5".into()];
    assert_eq!(ids(&world.plan(&budget())), Vec::<&str>::new());
    // 120 B are in no image that stays: 30 + 40 + 50. A step goes before the one it was made from.
    let plan = world.plan(&Budget { cache_max_bytes: Some(60), ..budget() });
    assert_eq!(ids(&plan), ["i5", "i6"]);
    assert_eq!(plan.items.iter().map(|item| item.bytes).collect::<Vec<_>>(), [40, 50]);
    assert!(matches!(why(&plan, "i3"), WhyKept::BuiltOn(_)));
    assert_eq!(*why(&plan, "i4"), WhyKept::Cached);
    // Of an app that is gone they are no use.
    world.known.apps.remove(&app(1));
    world.known.apps.insert(app(2));
    assert!(ids(&world.plan(&budget())).contains(&"i4"));
}

#[test]
fn bytes_that_stay_on_the_disk_are_not_promised() {
    let mut world = World::new();
    world.released(1, 5, Some(3), 10).parent = Some("sha256:step".into());
    let nameless = Image {
        id: "sha256:step".into(),
        names: vec![],
        labels: Default::default(),
        parent: None,
        ..world.survey.images[0].clone()
    };
    world.survey.images.push(nameless);
    let all = Budget { images_keep: 0, ..budget() };
    let plan = world.plan(&all);
    assert_eq!((ids(&plan), plan.bytes()), (vec!["i5"], 0));
    assert!(
        plan.notes[0].contains("110 B") && plan.notes[0].contains("docker image prune"),
        "{:?}",
        plan.notes
    );
    // BuildKit's cache has a layer of its own.
    world.survey.images.pop();
    world.survey.layers.insert("sha256:l5".into(), Layer { bytes: 10, in_cache: true });
    let plan = world.plan(&all);
    assert_eq!(plan.bytes(), 100);
    assert!(plan.notes[0].starts_with("10 B"), "{:?}", plan.notes);
}

#[test]
fn buildkits_cache_only_where_it_is_ours() {
    let mut world = World::new();
    let record = |bytes, in_use, hours| CacheRecord { bytes, in_use, last_used: before(hours) };
    let records = vec![record(50, false, 9), record(20, true, 9), record(30, false, 0)];
    world.survey.cache = Some(CacheUse { records, ..CacheUse::default() });
    let spent = |cache_is_ours, most| Budget { cache_is_ours, cache_max_bytes: Some(most), ..budget() };
    let plan = world.plan(&spent(false, 0));
    assert_eq!(ids(&plan), Vec::<&str>::new());
    assert!(plan.notes[0].contains("is left"), "{:?}", plan.notes);
    let plan = world.plan(&spent(true, 80));
    assert_eq!((ids(&plan), plan.bytes(), plan.notes.len()), (vec!["buildkit"], 20, 0));
    let plan = world.plan(&spent(true, 0));
    assert_eq!((plan.bytes(), plan.notes.len()), (50, 1));
    assert_eq!(ids(&world.plan(&Budget { cache_is_ours: true, ..budget() })), Vec::<&str>::new());
    world.survey.cache = None;
    let plan = world.plan(&spent(true, 0));
    assert_eq!((ids(&plan), plan.notes.len()), (vec![], 1));
}

#[test]
fn volumes_are_told_of_and_never_removed() {
    let mut world = World::new();
    for of in [1, 2] {
        let labels = [(LABEL_FLEET.into(), FLEET.into()), (LABEL_APP.into(), app(of).to_string())];
        world.survey.volumes.push(Volume { name: format!("data{of}"), labels: labels.into() });
    }
    let plan = world.plan(&budget());
    assert_eq!(ids(&plan), Vec::<&str>::new());
    assert_eq!(plan.orphaned_volumes, ["data2"]);
}

#[test]
fn an_image_that_a_registry_named_is_known_by_its_digest() {
    let mut world = World::new();
    world.released(1, 5, Some(0), 10).digests = vec!["registry:5000/app@sha256:abc".into()];
    world.fate(5).images = vec!["sha256:abc".into()];
    world.fate(5).serving = true;
    assert_eq!(*why(&world.plan(&Budget { images_keep: 0, ..budget() }), "i5"), WhyKept::Serving);
}

#[test]
fn the_report_says_what_why_and_how_much() {
    let mut world = World::new();
    world.released(1, 5, Some(3), 3_000_000);
    world.released(1, 6, Some(0), 10);
    world.released(1, 7, Some(1), 10);
    world.slot(2, 8, true);
    world.fate(6).serving = true;
    world.survey.images[1].names.push("evil\u{1b}[2J:x".into());
    let text = report(&world.plan(&Budget { images_keep: 0, ..budget() }));
    for part in
        ["its app is gone; it runs and is stopped first", "3.0 MB", "older than the 0", "Total: 2 things"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains("somebody named it evil?[2J:x") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(report(&Plan::default()), "Nothing to remove.\n");
}
