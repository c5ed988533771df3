//! The Lua scripts, loaded once per server by their digest.

use std::sync::LazyLock;

use redis::{FromRedisValue, Script, ScriptInvocation};

use super::Queue;
use crate::error::Result;

const PRELUDE: &str = include_str!("scripts/prelude.lua");

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {$(
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(&[PRELUDE, include_str!(concat!("scripts/", $file, ".lua"))].join("\n"))
        });
    )*};
}

scripts! {
    DEPTH = "depth";
    ENQUEUE = "enqueue";
    FINISH = "finish";
    KNOWN = "known";
    LOCK = "lock";
    OWN = "own";
    PARK = "park";
    PROMOTE = "promote";
    QUARANTINE = "quarantine";
    REAP = "reap";
    RENEW = "renew";
    RESTORE = "restore";
    SWEEP = "sweep";
    TAKE = "take";
    UNPARK = "unpark";
    WHY = "why";
    WITHDRAW = "withdraw";
}

impl Queue {
    /// Runs a script for this fleet; `arguments` adds its ARGV.
    pub(super) async fn run<T, F>(&self, script: &'static Script, arguments: F) -> Result<T>
    where
        T: FromRedisValue,
        F: FnOnce(&mut ScriptInvocation<'static>),
    {
        let mut invocation = script.key(self.keys.prefix());
        arguments(&mut invocation);
        self.pool.run(async |connection| invocation.invoke_async(connection).await).await
    }
}
