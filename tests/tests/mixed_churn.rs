//! Everything that clients can write, in ensembles of both kinds: do all members come to the same tree, by the digest
//! of every single transaction?

use ringkeeper_tests::cluster::Plan;
use ringkeeper_tests::cluster::churn::Churn;
use ringkeeper_tests::node::Server;
use ringkeeper_tests::on_mixed_ensembles;
use ringkeeper_tests::tool;

/// The last of `kinds` leads first. Members are killed and come back in between, the leader too.
fn churn(kinds: &[Server]) {
    let plan = Plan::of(kinds).with_line("extendedTypesEnabled=true").with_line("minSessionTimeout=500");
    let mut cluster = plan.start_led_by_the_last();
    let many = if tool::long() { 6000 } else { 1500 };
    let churn = Churn::start(&cluster.awake_addrs(), 6, fastrand::u64(..1_000_000));
    churn.gets_on(many);
    let follower = cluster.a_follower();
    cluster.kill(follower);
    churn.gets_on(many / 4);
    cluster.launch(follower);
    churn.gets_on(many);
    let leader = cluster.leader();
    cluster.kill(leader);
    cluster.wait_until_serving();
    churn.gets_on(many / 4);
    cluster.launch(leader);
    churn.gets_on(many);
    churn.finish();
    cluster.assert_sound();
}

on_mixed_ensembles! {
    quick ours_leads = churn, [Apache Ringkeeper Ringkeeper];
    quick apache_leads = churn, [Ringkeeper Ringkeeper Apache];
    long ours_leads_two_of_apache = churn, [Apache Apache Ringkeeper];
    long apache_leads_its_own_and_ours = churn, [Ringkeeper Apache Apache];
    long fronts = churn, [Ringkeeper Fronts Apache];
    long ours_alone = churn, [Ringkeeper Ringkeeper Ringkeeper];
    // Whether the script itself is right.
    long reference = churn, [Apache Apache Apache];
}
