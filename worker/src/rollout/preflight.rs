//! Before a build: whether a roll-out of this app can go unnoticed by its users, and what stands in the way. Pure; says
//! what the settings alone tell, and nothing about a target's present state.

use deploymind_shared::domain::app::AppSettings;
use deploymind_shared::domain::rollout::{OnInsufficient, StrategyKind};
use deploymind_shared::domain::slot::{HealthKind, RestartPolicy, SlotSettings, Volume};
use deploymind_shared::domain::text_enum;
use serde::{Deserialize, Serialize};

text_enum! {
    /// The worst first.
    Level {
        /// It cannot work like this.
        Blocks = "blocks",
        /// It works, and users meet an outage.
        Downtime = "downtime",
        /// It works; a person should know.
        Warn = "warn",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub level: Level,
    /// What is so, what follows from it, and what to change.
    pub sentence: String,
}

/// Everything that is worth saying, the worst first. `port_known`: the settings, the image or the repository say where the
/// program listens. Whether a port or a host name is taken is asked elsewhere.
pub fn preflight(settings: &AppSettings, port_known: bool, targets: usize) -> Vec<Note> {
    let mut notes = Notes(Vec::new());
    if targets == 0 {
        notes.blocks("the app has no target: give it one before it is deployed");
    }
    notes.overlap(settings);
    notes.reach(settings, port_known);
    notes.health(settings, port_known);
    notes.canary(settings);
    notes.lasting(settings);
    notes.0.sort_by_key(|note| note.level);
    notes.0
}

fn named(volume: &Volume) -> String {
    format!("the volume `{}` at {}", volume.source, volume.path)
}

/// The longest time between the stop of the old release and the first look at which the new one may be healthy.
fn outage_s(run: &SlotSettings) -> u32 {
    run.stop.grace_s.saturating_add(run.health.start_period_s).saturating_add(run.health.settle_s)
}

struct Notes(Vec<Note>);

impl Notes {
    fn say(&mut self, level: Level, sentence: impl Into<String>) {
        self.0.push(Note { level, sentence: sentence.into() });
    }

    fn blocks(&mut self, sentence: impl Into<String>) {
        self.say(Level::Blocks, sentence);
    }

    fn downtime(&mut self, sentence: impl Into<String>) {
        self.say(Level::Downtime, sentence);
    }

    fn warn(&mut self, sentence: impl Into<String>) {
        self.say(Level::Warn, sentence);
    }

    /// Old and new side by side.
    fn overlap(&mut self, settings: &AppSettings) {
        let run = &settings.run;
        for volume in &run.volumes {
            let name = named(volume);
            if volume.exclusive {
                self.downtime(format!(
                    "{name} is exclusive, so the running release is stopped before the new one starts: users get \
                     errors from then until the new one is healthy, for up to {} s, and again on a way back. Without \
                     `exclusive` both run side by side and nobody notices",
                    outage_s(run)
                ));
                if run.replicas > 1 {
                    self.blocks(format!(
                        "{name} is exclusive and run.replicas is {}: only one copy may have it at a time. Set \
                         run.replicas to 1 or take `exclusive` away",
                        run.replicas
                    ));
                }
            } else if !volume.read_only {
                self.warn(format!(
                    "{name} is written by the old and the new release at once while they run side by side: both must \
                     understand what the other writes. Where they do not, make it `exclusive`, at the price of an outage"
                ));
            }
        }
        let strategy = settings.rollout.strategy;
        if !run.may_overlap() && strategy != StrategyKind::Rolling {
            self.warn(format!(
                "the strategy {strategy} needs both releases side by side, and an exclusive volume forbids it: the new \
                 one gets all requests at once, without stages and without a release to compare it with"
            ));
        }
        if run.may_overlap() && run.replicas > 1 {
            let memory = run.resources.memory_mb.map_or(String::new(), |mb| {
                format!(
                    " and up to {} MiB more memory are needed there",
                    u64::from(mb) * u64::from(run.replicas)
                )
            });
            self.warn(format!(
                "while a roll-out lasts, {} copies run on each target{memory}",
                2 * u32::from(run.replicas)
            ));
        }
    }

    /// Whether there are requests to move from one release to the other.
    fn reach(&mut self, settings: &AppSettings, port_known: bool) {
        let canary = &settings.rollout.canary;
        match (settings.run.routes.is_empty(), port_known) {
            (false, true) => {}
            (false, false) => self.blocks(
                "users are to be routed to the app and nothing says on which port it listens: set `port`, or EXPOSE it \
                 in the Dockerfile",
            ),
            (true, true) => self.warn(
                "the app has no route (run.routes.port or run.routes.hosts): it runs, its health is asked for, and no \
                 user reaches it",
            ),
            (true, false) => self.warn(
                "the app has neither a port nor a route: it is deployed as a background program. There are no requests \
                 to move, so the old and the new release both work while they run side by side",
            ),
        }
        let staged = settings.rollout.strategy == StrategyKind::Canary && settings.run.may_overlap();
        if staged && settings.run.routes.is_empty() {
            let sentence = "no request can reach a canary of an app without a route, and it is never promoted without \
                            requests";
            match canary.on_insufficient {
                OnInsufficient::Pause => {
                    self.warn(format!("{sentence}: each roll-out waits for a person to promote it"))
                }
                OnInsufficient::Rollback => {
                    self.blocks(format!("{sentence}: each roll-out would go back. Use the strategy rolling"));
                }
            }
        }
    }

    /// How much a health check can tell.
    fn health(&mut self, settings: &AppSettings, port_known: bool) {
        let health = &settings.run.health;
        if !port_known {
            return self.warn(
                "without a known port there is nothing to ask for health: that the program runs is all that is checked",
            );
        }
        match health.kind {
            HealthKind::Tcp => self.warn(
                "run.health.kind is tcp: a release that accepts connections and answers each with an error counts as \
                 healthy and gets users. Where it speaks HTTP, name a path that fails when it cannot serve",
            ),
            HealthKind::Http if health.path == "/" => self.warn(
                "the health check asks for `/`, which says little about what the app needs to serve: name a path of its \
                 own in run.health.path",
            ),
            HealthKind::Http => {}
        }
        if health.kind == HealthKind::Http && health.status.1 >= 400 {
            self.warn(format!(
                "run.health.status reaches to {}: answers that say something is wrong count as healthy",
                health.status.1
            ));
        }
    }

    fn canary(&mut self, settings: &AppSettings) {
        let canary = &settings.rollout.canary;
        if settings.rollout.strategy != StrategyKind::Canary || !settings.run.may_overlap() {
            return;
        }
        if settings.run.replicas > 1 {
            self.warn(
                "a canary's stages are shares of the requests, not of the copies: the new release runs with all its \
                 copies from the first stage on",
            );
        }
        if canary.sticky {
            self.warn(
                "rollout.canary.sticky keeps visitors by a cookie: those that send no cookie are drawn anew with each \
                 request, and the share counts requests of new visitors, so it takes longer to have an effect",
            );
        } else {
            self.warn(
                "during a canary a visitor may be answered by both releases in turn. Where a page and what it loads must \
                 be of one release, set rollout.canary.sticky",
            );
        }
        if canary.header {
            self.warn(
                "rollout.canary.header lets everybody who sends `X-DeployMind-Slot: new` reach a release that was not \
                 judged yet, and their requests count in its verdict",
            );
        }
    }

    /// What happens after the switch.
    fn lasting(&mut self, settings: &AppSettings) {
        let rollout = &settings.rollout;
        let blue_green = rollout.strategy == StrategyKind::BlueGreen && settings.run.may_overlap();
        let (name, watched) =
            if blue_green { ("observe_s", rollout.observe_s) } else { ("verify_s", rollout.verify_s) };
        if watched == 0 {
            self.warn(format!(
                "rollout.{name} is 0: a release that dies right after it got its users is not taken back by itself"
            ));
        }
        if settings.run.restart == RestartPolicy::Never {
            let copies = if settings.run.replicas == 1 {
                "the app's only copy stays down"
            } else {
                "a copy stays down"
            };
            self.warn(format!(
                "run.restart is never: when the program ends, or the host restarts, {copies} until the next deployment. \
                 Use always or on-failure"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
