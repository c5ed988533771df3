//! What goes wrong between a worker and its targets: scripted by call, or by chance with a seed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

/// What a worker asks of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    Inspect,
    Obstacles,
    Provide,
    Launch,
    Probe,
    Remains,
    Route,
    Drained,
    Traffic,
    Stop,
    Retire,
    Logs,
    Usage,
    /// A write of the worker's own, beside the runtime.
    Record,
}

/// Which calls of a worker a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The call of this number, counted from 0 over all of them.
    Number(usize),
    /// Every call of a kind from its `n`-th on (0 is the first), `times` of them.
    Kind { call: Call, from: usize, times: usize },
}

/// Whether the world has changed when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The worker is gone: no call of it ever returns any more.
    Die(When),
    /// The worker stands still until [`Process::thaw`].
    Freeze(When),
    /// This call never returns.
    Hang(When),
    /// The target cannot be reached.
    Unreachable(When),
    /// It is refused for good.
    Refuse(Code),
    Slow(Duration),
    /// The call never returns, and takes effect so much later.
    Late(Duration),
}

/// Faults by chance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Share of the calls for which the target cannot be reached; half of them after the effect.
    pub unreachable: f64,
    /// Share of the calls that never return; half of them after the effect.
    pub hang: f64,
    /// Most that a call takes.
    pub latency: Duration,
}

/// One worker process as the world sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Process(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    calls: AtomicUsize,
    died: CancellationToken,
    frozen: CancellationToken,
    thawed: CancellationToken,
    state: Mutex<Luck>,
}

#[derive(Debug)]
struct Luck {
    plan: Vec<(At, Fault)>,
    made: Vec<Call>,
    weather: Weather,
    rng: StdRng,
}

impl Process {
    pub fn new(seed: u64) -> Self {
        let luck = Luck {
            plan: Vec::new(),
            made: Vec::new(),
            weather: Weather::default(),
            rng: StdRng::seed_from_u64(seed),
        };
        Self(Arc::new(Inner {
            calls: AtomicUsize::new(0),
            died: CancellationToken::new(),
            frozen: CancellationToken::new(),
            thawed: CancellationToken::new(),
            state: Mutex::new(luck),
        }))
    }

    #[must_use]
    pub fn with(self, at: At, fault: Fault) -> Self {
        self.luck().plan.push((at, fault));
        self
    }

    #[must_use]
    pub fn in_weather(self, weather: Weather) -> Self {
        self.luck().weather = weather;
        self
    }

    /// How many calls it has made.
    pub fn calls(&self) -> usize {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// The calls it has made, in order.
    pub fn made(&self) -> Vec<Call> {
        self.luck().made.clone()
    }

    /// Returns once it has died.
    pub async fn died(&self) {
        self.0.died.cancelled().await;
    }

    /// Returns once it stands still.
    pub async fn frozen(&self) {
        self.0.frozen.cancelled().await;
    }

    pub fn thaw(&self) {
        self.0.thawed.cancel();
    }

    fn luck(&self) -> MutexGuard<'_, Luck> {
        // Nothing panics while holding it.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of the next call, and how long it takes.
    fn draw(&self, call: Call) -> (Option<Fault>, Duration) {
        let number = self.0.calls.fetch_add(1, Ordering::Relaxed);
        let mut luck = self.luck();
        let nth = luck.made.iter().filter(|made| **made == call).count();
        luck.made.push(call);
        let latency = luck.weather.latency.mul_f64(luck.rng.random::<f64>());
        let planned = luck.plan.iter().find(|(at, _)| match *at {
            At::Number(n) => n == number,
            At::Kind { call: kind, from, times } => kind == call && nth >= from && nth - from < times,
        });
        if let Some((_, fault)) = planned {
            return (Some(*fault), latency);
        }
        let Weather { unreachable, hang, .. } = luck.weather;
        let roll: f64 = luck.rng.random();
        let when = if luck.rng.random() { When::Before } else { When::After };
        let fault = if roll < unreachable {
            Some(Fault::Unreachable(when))
        } else if roll < unreachable + hang {
            Some(Fault::Hang(when))
        } else {
            None
        };
        (fault, latency)
    }

    async fn strike(&self, fault: Option<Fault>, now: When) -> Result<(), Stop> {
        match fault {
            Some(Fault::Die(when)) if when == now => {
                self.0.died.cancel();
                std::future::pending().await
            }
            Some(Fault::Freeze(when)) if when == now => {
                self.0.frozen.cancel();
                self.0.thawed.cancelled().await;
                Ok(())
            }
            Some(Fault::Hang(when)) if when == now => std::future::pending().await,
            Some(Fault::Unreachable(when)) if when == now => {
                Err(Error::new(Code::EngineUnavailable, "the simulated target cannot be reached").into())
            }
            Some(Fault::Refuse(code)) if now == When::Before => {
                Err(Stop::terminal(code, "the simulated target refuses"))
            }
            _ => Ok(()),
        }
    }

    /// Lets `effect` happen as the faults have it. `late`: how to let it happen after a while without the caller.
    pub async fn call<T>(
        &self,
        call: Call,
        late: Option<&(dyn Fn(Duration) + Sync)>,
        effect: impl FnOnce() -> Result<T, Stop> + Send,
    ) -> Result<T, Stop> {
        if self.0.died.is_cancelled() {
            std::future::pending::<()>().await;
        }
        let (fault, latency) = self.draw(call);
        match (fault, late) {
            (Some(Fault::Late(by)), Some(late)) => {
                late(by);
                std::future::pending::<()>().await;
            }
            (Some(Fault::Slow(by)), _) => tokio::time::sleep(by).await,
            _ => {}
        }
        tokio::time::sleep(latency).await;
        self.strike(fault, When::Before).await?;
        let result = effect();
        self.strike(fault, When::After).await?;
        result
    }
}
