use deploymind_shared::domain::slot::Routes;
use deploymind_shared::ids::AppId;

use super::*;
use crate::runtime::AppRef;

fn upstream(name: &str, port: u16) -> Upstream {
    Upstream { slot: SlotName(name.into()), addresses: vec![([10, 0, 0, 1], port).into()] }
}

fn route(old: Option<&Upstream>, new: Option<&Upstream>, weight: u8) -> Route {
    Route {
        app: AppRef { id: AppId::generate(), name: "shop".into() },
        routes: Routes { port: Some(8080), hosts: vec!["shop.example".into()] },
        old: old.map(|old| old.slot.clone()),
        new: new.map(|new| new.slot.clone()),
        weight,
        sticky: true,
        header: true,
    }
}

fn rendered(route: &Route, old: Option<&Upstream>, new: Option<&Upstream>) -> Result<Option<String>, Stop> {
    render(&Settings::default(), Epoch(41), route, old, new)
}

#[test]
fn what_could_leave_its_place_in_the_file_is_refused() {
    let (old, new) = (upstream("dm-shop-40", 1), upstream("dm-shop-41", 2));
    let good = route(Some(&old), Some(&new), 10);
    assert!(matches!(rendered(&good, Some(&old), Some(&new)), Ok(Some(_))));
    for host in ["a;b", "a b", "a\nb", "A.example", "", "a..b", "*.*.b", "~^.*$", "a}"] {
        let mut bad = good.clone();
        bad.routes.hosts.push(host.to_owned());
        assert!(matches!(rendered(&bad, Some(&old), Some(&new)), Err(Stop::Terminal(_))), "{host:?}");
    }
    for slot in ["", "a b", "a\"", "a;", "a\n", "$a", "{"] {
        let bad = upstream(slot, 1);
        let route = route(Some(&bad), Some(&new), 10);
        assert!(matches!(rendered(&route, Some(&bad), Some(&new)), Err(Stop::Terminal(_))), "{slot:?}");
    }
    let none = Upstream { addresses: vec![], ..old.clone() };
    assert!(rendered(&good, Some(&none), Some(&new)).is_err());
    let mut bad = good.clone();
    bad.routes = Routes::default();
    assert!(rendered(&bad, Some(&old), Some(&new)).is_err());
    assert!(rendered(&good, Some(&new), Some(&old)).is_err(), "sides mixed up");
    assert!(rendered(&good, None, Some(&new)).is_err(), "a side without addresses");
}

#[test]
fn one_side_alone_gets_everything_and_none_is_no_route() {
    let new = upstream("dm-shop-41", 2);
    let alone = rendered(&route(None, Some(&new), 10), None, Some(&new)).expect("good").expect("file");
    assert!(alone.contains(r#""weight":100"#), "{alone}");
    assert!(!alone.contains("split_clients") && !alone.contains("backup"), "{alone}");
    assert!(!alone.contains("x_deploymind_slot") && !alone.contains("Set-Cookie"), "{alone}");
    let old = rendered(&route(Some(&new), None, 10), Some(&new), None).expect("good").expect("file");
    assert!(old.contains(r#""weight":0"#), "{old}");
    assert_eq!(rendered(&route(None, None, 50), None, None).expect("good"), None);
}

#[test]
fn only_what_is_meant_for_new_may_go_to_old() {
    let (old, new) = (upstream("dm-shop-40", 1), upstream("dm-shop-41", 2));
    let file = rendered(&route(Some(&old), Some(&new), 100), Some(&old), Some(&new)).expect("good");
    let file = file.expect("file");
    let backups: Vec<_> = file.lines().filter(|line| line.contains("backup")).collect();
    assert_eq!(backups, ["    server 10.0.0.1:1 max_fails=0 backup;"]);
}
