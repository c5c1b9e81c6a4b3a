//! Members of this workspace and of Apache ZooKeeper in one ensemble: every composition, every role, and the way from
//! one to the other and back without a stop.
//!
//! Apache's members check every transaction's digest against their own tree: a mismatch fails the test. How the two
//! bring each other up to date is tested in `ensemble_sync.rs`.

use ringkeeper_tests::cluster::Plan;
use ringkeeper_tests::cluster::member::Mode;
use ringkeeper_tests::node::Server;
use ringkeeper_tests::on_mixed_ensembles;

/// The last of `kinds` leads first; then that leader is lost, and the next one.
fn leader_is_lost_twice(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).start_led_by_the_last();
    let load = cluster.load("w", &cluster.sids(), 3, 8);
    load.gets_on(50);
    for _ in 0..2 {
        let leader = cluster.leader();
        cluster.kill(leader);
        cluster.wait_until_serving();
        load.gets_on(50);
        cluster.launch(leader);
        cluster.wait_until_serving();
        load.gets_on(50);
    }
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

/// All but the last of `kinds` vote, the last observes: from the beginning, through the loss of its leader, after an
/// absence, and with an empty disk.
fn observer_of_another_kind(kinds: &[Server]) {
    let (observer_kind, voters) = kinds.split_last().expect("an observer");
    let mut cluster = Plan::of(voters).with_observer(*observer_kind).start();
    let observer = *cluster.sids().last().expect("an observer");
    assert_eq!(cluster.member(observer).status().map(|s| s.mode), Some(Mode::Observer));
    let load = cluster.load("w", &[observer], 2, 8);
    load.gets_on(50);
    let leader = cluster.leader();
    cluster.kill(leader);
    cluster.wait_until_serving();
    load.gets_on(50);
    cluster.launch(leader);
    cluster.kill(observer);
    cluster.launch(observer);
    load.gets_on(50);
    cluster.kill(observer);
    cluster.wipe(observer);
    // Its clients are silent anyway as long as it is away.
    cluster.launch(observer);
    load.gets_on(50);
    cluster.wait_until_serving();
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

/// Three members of the first kind become three of the second, one by one, the leader last, and then again three of
/// the first, while clients write.
fn all_members_are_replaced_and_back(kinds: &[Server]) {
    let &[first, second] = kinds else { panic!("from one kind to another") };
    let mut cluster = Plan::of(&[first; 3]).start();
    let load = cluster.load("w", &cluster.sids(), 3, 8);
    for kind in [second, first] {
        let leader = cluster.leader();
        let mut order = cluster.sids_without(&[leader]);
        order.push(leader);
        for sid in order {
            if cluster.apache_may_teach_apache(sid, kind) {
                load.while_silent(|| cluster.replace(sid, kind));
            } else {
                cluster.replace(sid, kind);
            }
            cluster.wait_until_serving();
            load.gets_on(30);
        }
    }
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

on_mixed_ensembles! {
    quick one_of_ours_leads_two_of_apache = leader_is_lost_twice, [Apache Apache Ringkeeper];
    quick one_of_apache_leads_two_of_ours = leader_is_lost_twice, [Ringkeeper Ringkeeper Apache];
    long two_of_apache_lead_one_of_ours = leader_is_lost_twice, [Ringkeeper Apache Apache];
    long one_of_ours_between_two_of_apache = leader_is_lost_twice, [Apache Ringkeeper Apache];
    long two_of_ours_lead_one_of_apache = leader_is_lost_twice, [Apache Ringkeeper Ringkeeper];
    long one_of_apache_between_two_of_ours = leader_is_lost_twice, [Ringkeeper Apache Ringkeeper];
    long fronts_beside_apache = leader_is_lost_twice, [Apache Apache Fronts];
    long five_of_two_kinds = leader_is_lost_twice, [Apache Ringkeeper Apache Ringkeeper Ringkeeper];
    long our_observer_of_apache = observer_of_another_kind, [Apache Apache Apache Ringkeeper];
    long apaches_observer_of_ours = observer_of_another_kind, [Ringkeeper Ringkeeper Ringkeeper Apache];
    long our_observer_of_a_mixed_ensemble = observer_of_another_kind, [Apache Ringkeeper Apache Ringkeeper];
    quick apache_is_replaced_by_ours_and_back = all_members_are_replaced_and_back, [Apache Ringkeeper];
    long ours_is_replaced_by_apache_and_back = all_members_are_replaced_and_back, [Ringkeeper Apache];
    // Whether the scripts themselves are right.
    long reference_leader_is_lost_twice = leader_is_lost_twice, [Apache Apache Apache];
    long reference_observer = observer_of_another_kind, [Apache Apache Apache Apache];
    long reference_is_replaced_by_itself = all_members_are_replaced_and_back, [Apache Apache];
}
