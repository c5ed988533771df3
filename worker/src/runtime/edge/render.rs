//! An app's route as nginx's configuration. Nothing gets into it that was not checked here.

use std::fmt::Write as _;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::ids::Epoch;
use deploymind_shared::retry::Stop;

use super::install::{LOG_FOLDER, RUN_FOLDER};
use super::{Settings, Upstream};
use crate::runtime::{Route, SlotName, Standing};

/// Most copies of a slot.
const ADDRESSES_MAX: usize = 64;
/// How long a visitor stays with a slot that is still there.
const COOKIE_SECONDS: u32 = 86_400;

/// `None`: nobody is routed. `@LOG@` stands for the name of the log, which the edge gives to each change.
pub(super) fn render(
    settings: &Settings,
    epoch: Epoch,
    route: &Route,
    old: Option<&Upstream>,
    new: Option<&Upstream>,
) -> Result<Option<String>, Stop> {
    named("old", route.old.as_ref(), old)?;
    named("new", route.new.as_ref(), new)?;
    if route.old.is_none() && route.new.is_none() {
        return Ok(None);
    }
    for upstream in [old, new].into_iter().flatten() {
        check(upstream)?;
    }
    if route.routes.is_empty() || route.routes.port == Some(0) {
        return Err(wrong("the app has neither a port nor a host name"));
    }
    if route.routes.hosts.iter().any(|host| !is_host(host)) {
        return Err(wrong("a host name of the app is not one"));
    }
    let parts = Parts { settings, epoch, route, old, new, id: route.app.id.as_uuid().simple().to_string() };
    let mut file = String::with_capacity(4096);
    // Writing to a `String` does not fail.
    let written = parts
        .header(&mut file)
        .and_then(|()| parts.upstreams(&mut file))
        .and_then(|()| parts.choice(&mut file))
        .and_then(|()| parts.server(&mut file));
    written.map_err(|_| wrong("the route could not be written"))?;
    Ok(Some(file))
}

fn wrong(sentence: &str) -> Stop {
    Error::new(Code::EdgeConfig, format!("the route cannot be served: {sentence}; nothing was changed"))
        .into()
}

fn named(side: &str, slot: Option<&SlotName>, upstream: Option<&Upstream>) -> Result<(), Stop> {
    if slot == upstream.map(|upstream| &upstream.slot) {
        return Ok(());
    }
    Err(wrong(&format!("the {side} slot that it names is not the one whose addresses were given")))
}

fn check(upstream: &Upstream) -> Result<(), Stop> {
    let name = &upstream.slot.0;
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
    if name.is_empty() || name.len() > 200 || !name.bytes().all(plain) {
        return Err(wrong("a slot's name has other characters than letters, digits, dots and dashes"));
    }
    if upstream.addresses.is_empty() || upstream.addresses.len() > ADDRESSES_MAX {
        return Err(wrong(&format!("slot {name} must have 1 to {ADDRESSES_MAX} addresses")));
    }
    Ok(())
}

/// A DNS name in lower case; the first label may be `*`.
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    };
    name.len() <= 253 && name.strip_prefix("*.").unwrap_or(name).split('.').all(label)
}

struct Parts<'a> {
    settings: &'a Settings,
    epoch: Epoch,
    route: &'a Route,
    old: Option<&'a Upstream>,
    new: Option<&'a Upstream>,
    /// The app's id as a part of nginx's own names.
    id: String,
}

impl Parts<'_> {
    /// What the script and its readers need, without understanding nginx.
    fn header(&self, file: &mut String) -> std::fmt::Result {
        let standing = Standing {
            epoch: self.epoch,
            old: self.route.old.clone(),
            new: self.route.new.clone(),
            weight: self.weight(),
        };
        let standing = serde_json::to_string(&standing).map_err(|_| std::fmt::Error)?;
        writeln!(file, "# standing {standing}")?;
        if let Some(port) = self.route.routes.port {
            writeln!(file, "# port {port}")?;
        }
        if !self.route.routes.hosts.is_empty() {
            writeln!(file, "# shared {}", self.settings.shared_port)?;
        }
        for host in &self.route.routes.hosts {
            writeln!(file, "# host {host}")?;
        }
        for upstream in [self.old, self.new].into_iter().flatten() {
            for address in &upstream.addresses {
                writeln!(file, "# upstream {} {address}", upstream.slot)?;
            }
        }
        writeln!(file, "# log @LOG@")
    }

    /// What cannot be delivered to `new` goes to `old`, never the other way round.
    fn upstreams(&self, file: &mut String) -> std::fmt::Result {
        for (side, own, backup) in [("old", self.old, None), ("new", self.new, self.old)] {
            let Some(own) = own else { continue };
            writeln!(file, "upstream dm_{}_{side} {{", self.id)?;
            for address in &own.addresses {
                writeln!(file, "    server {address} max_fails=0;")?;
            }
            for address in backup.iter().flat_map(|backup| &backup.addresses) {
                writeln!(file, "    server {address} max_fails=0 backup;")?;
            }
            // Kept for less than any server that is in use keeps them: a POST to one that closes cannot be sent again.
            writeln!(file, "    keepalive 32;\n    keepalive_timeout 1s;\n}}")?;
        }
        Ok(())
    }

    /// The variables that lead from a request to a slot: by share, then by cookie, then by header.
    fn choice(&self, file: &mut String) -> std::fmt::Result {
        let (id, weight) = (&self.id, self.weight());
        let cookie = self.cookie();
        let mut side = match weight {
            0 => "old".to_owned(),
            100 => "new".to_owned(),
            weight => {
                writeln!(file, "split_clients \"${{request_id}}\" $dm_{id}_split {{")?;
                writeln!(file, "    {weight}% new;\n    * old;\n}}")?;
                format!("$dm_{id}_split")
            }
        };
        let slots = [("old", self.old), ("new", self.new)]
            .into_iter()
            .filter_map(|(side, upstream)| Some((side, &upstream?.slot)));
        if self.sticks() {
            writeln!(file, "map \"$cookie_{cookie}\" $dm_{id}_kept {{\n    default {side};")?;
            for (side, slot) in slots.clone() {
                writeln!(file, "    \"{slot}\" {side};")?;
            }
            writeln!(file, "}}")?;
            side = format!("$dm_{id}_kept");
        }
        let by_header = self.route.header && self.old.is_some() && self.new.is_some();
        if by_header {
            writeln!(file, "map \"$http_x_deploymind_slot\" $dm_{id}_asked {{\n    default {side};")?;
            writeln!(file, "    new new;\n    old old;\n}}")?;
            side = format!("$dm_{id}_asked");
        }
        for (variable, prefix) in [("slot", ""), ("upstream", "dm")] {
            writeln!(file, "map \"{side}\" $dm_{id}_{variable} {{")?;
            for (side, slot) in slots.clone() {
                let value = if prefix.is_empty() { slot.0.clone() } else { format!("dm_{id}_{side}") };
                writeln!(file, "    {side} \"{value}\";")?;
            }
            writeln!(file, "}}")?;
        }
        if self.sticks() {
            // A tester's header says nothing of later requests.
            let given = if by_header { "$http_x_deploymind_slot" } else { "" };
            writeln!(file, "map \"{given}:$cookie_{cookie}\" $dm_{id}_keep {{")?;
            writeln!(
                file,
                "    default \"{cookie}=$dm_{id}_slot; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax\";"
            )?;
            for (_, slot) in slots {
                writeln!(file, "    \":{slot}\" \"\";")?;
            }
            if by_header {
                writeln!(file, "    \"~^(new|old):\" \"\";")?;
            }
            writeln!(file, "}}")?;
        }
        Ok(())
    }

    fn server(&self, file: &mut String) -> std::fmt::Result {
        let (id, routes) = (&self.id, &self.route.routes);
        // No path and no client's address: both may hold what nobody but the app should see.
        writeln!(
            file,
            "log_format dm_{id} escape=json '{{\"t\":\"$msec\",\"s\":\"$dm_{id}_slot\",\"c\":\"$status\",\
             \"d\":\"$request_time\",\"a\":\"$upstream_addr\",\"u\":\"$upstream_status\",\
             \"h\":\"$upstream_header_time\",\"r\":\"$upstream_response_time\",\"m\":\"$request_method\"}}';"
        )?;
        writeln!(file, "server {{")?;
        let shared = (!routes.hosts.is_empty()).then_some(self.settings.shared_port);
        for port in [routes.port, shared.filter(|shared| routes.port != Some(*shared))].into_iter().flatten()
        {
            writeln!(file, "    listen {port};\n    listen [::]:{port}; # ipv6")?;
        }
        write!(file, "    server_name")?;
        for host in &routes.hosts {
            write!(file, " {host}")?;
        }
        writeln!(file, "{};", if routes.hosts.is_empty() { " _" } else { "" })?;
        writeln!(file, "    client_max_body_size {}m;", self.settings.body_max_mb)?;
        writeln!(file, "    access_log {LOG_FOLDER}/@LOG@ dm_{id};")?;
        let keep = if self.sticks() {
            format!("        add_header Set-Cookie $dm_{id}_keep always;\n")
        } else {
            String::new()
        };
        writeln!(file, "    location / {{")?;
        writeln!(file, "        if (-f {RUN_FOLDER}/closing) {{\n            return 418;\n        }}")?;
        writeln!(file, "        error_page 418 = @closing;")?;
        writeln!(file, "        add_header Connection $dm_close always;")?;
        writeln!(file, "{keep}        proxy_pass http://$dm_{id}_upstream;\n    }}")?;
        // The same, and the connection ends with the answer.
        writeln!(file, "    location @closing {{\n        keepalive_timeout 0;")?;
        writeln!(file, "{keep}        proxy_pass http://$dm_{id}_upstream;\n    }}\n}}\n# end")
    }

    /// With one side alone there is nothing to share.
    fn weight(&self) -> u8 {
        match (self.old, self.new) {
            (None, _) => 100,
            (_, None) => 0,
            _ => self.route.weight.min(100),
        }
    }

    /// Nobody stays with a slot that gets no share.
    fn sticks(&self) -> bool {
        self.route.sticky && (1..100).contains(&self.weight())
    }

    /// Ports of a host share their cookies, so the name is the app's own.
    fn cookie(&self) -> String {
        format!("dm_slot_{}", self.id)
    }
}

#[cfg(test)]
mod tests;
