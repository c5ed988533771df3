use deploymind_shared::domain::rollout::{CanarySettings, RolloutSettings};
use deploymind_shared::domain::slot::{HealthCheck, Resources, Routes};

use super::*;

fn sound() -> AppSettings {
    AppSettings {
        run: SlotSettings {
            health: HealthCheck { path: "/ready".into(), ..HealthCheck::default() },
            routes: Routes { port: Some(80), hosts: vec![] },
            ..SlotSettings::default()
        },
        ..AppSettings::default()
    }
}

fn volume(exclusive: bool, read_only: bool) -> Volume {
    Volume { source: "data".into(), path: "/data".into(), read_only, exclusive }
}

fn canary(settings: AppSettings, canary: CanarySettings) -> AppSettings {
    let rollout = RolloutSettings { strategy: StrategyKind::Canary, canary, ..settings.rollout };
    AppSettings { rollout, ..settings }
}

/// Exactly these, and each says this.
fn expect(settings: &AppSettings, port_known: bool, wanted: &[(Level, &str)]) {
    let notes = preflight(settings, port_known, 1);
    assert_eq!(notes.len(), wanted.len(), "{notes:#?}");
    for (note, (level, part)) in notes.iter().zip(wanted) {
        assert!(note.level == *level && note.sentence.contains(part), "{part} ({level}) in {note:#?}");
    }
    assert!(notes.is_sorted_by_key(|note| note.level));
}

#[test]
fn nothing_is_said_of_a_sound_app() {
    expect(&sound(), true, &[]);
    let blue_green = RolloutSettings { strategy: StrategyKind::BlueGreen, ..RolloutSettings::default() };
    expect(&AppSettings { rollout: blue_green, ..sound() }, true, &[]);
}

#[test]
fn an_exclusive_volume_costs_an_outage_of_a_known_length() {
    let mut settings = sound();
    settings.run.volumes = vec![volume(true, false)];
    settings.run.health.settle_s = 5;
    expect(&settings, true, &[(Level::Downtime, "for up to 75 s")]);
    settings.run.replicas = 2;
    settings.rollout.strategy = StrategyKind::Canary;
    let wanted = [
        (Level::Blocks, "run.replicas is 2"),
        (Level::Downtime, "is exclusive"),
        (Level::Warn, "the strategy canary needs both"),
    ];
    expect(&settings, true, &wanted);
}

#[test]
fn a_volume_that_both_write_is_named_and_one_that_is_read_is_not() {
    let mut settings = sound();
    settings.run.volumes = vec![volume(false, false), volume(false, true)];
    expect(&settings, true, &[(Level::Warn, "`data` at /data is written by the old and the new")]);
}

#[test]
fn a_route_needs_a_port_and_a_program_without_both_is_fine() {
    expect(&sound(), false, &[(Level::Blocks, "EXPOSE"), (Level::Warn, "nothing to ask for health")]);
    let mut settings = sound();
    settings.run.routes = Routes::default();
    expect(&settings, true, &[(Level::Warn, "no user reaches it")]);
    expect(
        &settings,
        false,
        &[(Level::Warn, "background program"), (Level::Warn, "nothing to ask for health")],
    );
    assert!(preflight(&sound(), true, 0).iter().any(|note| note.level == Level::Blocks));
}

#[test]
fn a_canary_without_requests_waits_or_cannot_be() {
    let mut settings = canary(sound(), CanarySettings { sticky: true, ..CanarySettings::default() });
    settings.run.routes = Routes::default();
    let cookie = (Level::Warn, "by a cookie");
    let route = (Level::Warn, "no user reaches it");
    expect(&settings, true, &[route, (Level::Warn, "waits for a person"), cookie]);
    settings.rollout.canary.on_insufficient = OnInsufficient::Rollback;
    expect(&settings, true, &[(Level::Blocks, "each roll-out would go back"), route, cookie]);
}

#[test]
fn what_a_canary_means_for_visitors_is_said() {
    let settings = canary(sound(), CanarySettings { header: true, ..CanarySettings::default() });
    expect(
        &settings,
        true,
        &[(Level::Warn, "set rollout.canary.sticky"), (Level::Warn, "X-DeployMind-Slot")],
    );
    let mut copies = canary(sound(), CanarySettings { sticky: true, ..CanarySettings::default() });
    copies.run.replicas = 3;
    copies.run.resources = Resources { memory_mb: Some(512), cpus: None };
    let wanted = [
        (Level::Warn, "6 copies run on each target and up to 1536 MiB more"),
        (Level::Warn, "not of the copies"),
        (Level::Warn, "by a cookie"),
    ];
    expect(&copies, true, &wanted);
}

#[test]
fn weak_health_checks_are_called_so() {
    let mut settings = sound();
    settings.run.health.path = "/".into();
    expect(&settings, true, &[(Level::Warn, "asks for `/`")]);
    settings.run.health.kind = HealthKind::Tcp;
    expect(&settings, true, &[(Level::Warn, "is tcp")]);
    settings.run.health = HealthCheck { status: (200, 499), ..sound().run.health };
    expect(&settings, true, &[(Level::Warn, "reaches to 499")]);
}

#[test]
fn what_is_not_watched_and_what_is_not_started_again_is_said() {
    let mut settings = sound();
    settings.rollout.verify_s = 0;
    settings.run.restart = RestartPolicy::Never;
    let never = (Level::Warn, "the app's only copy stays down");
    expect(&settings, true, &[(Level::Warn, "verify_s is 0"), never]);
    settings.rollout.strategy = StrategyKind::BlueGreen;
    expect(&settings, true, &[never]);
    settings.rollout.observe_s = 0;
    expect(&settings, true, &[(Level::Warn, "observe_s is 0"), never]);
}
