//! What is answered while groups are loaded, on a machine whose disk stands still meanwhile.

use std::time::Duration;

use ringmill_engine::disk::{SimOptions, Simulation};
use ringmill_net::wire::ErrorCode;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::calls::{Found, Who};
use crate::client::Client;
use crate::machine::Machine;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn who(group: &str) -> Who<'_> {
    Who { group, id: "", instance: None, generation: -1 }
}

async fn commit(client: &Client, group: &str, topic: [u8; 16]) -> Result<(), ErrorCode> {
    let offset = Found { offset: 5, words: String::new() };
    client.commit(&who(group), &[((topic, 0), offset)]).await.unwrap()[0]
}

/// Commits for every group, and dies.
async fn first_life(machine: &Machine) -> [u8; 16] {
    let running = machine.boot().await.unwrap();
    let client = running.connect(1);
    let topic = client.create_topic("logs", 1, &[]).await.unwrap().unwrap();
    assert_eq!(client.find_coordinator(NAMES[0]).await.unwrap(), Ok(()));
    for name in NAMES {
        while let Err(code) = commit(&client, name, topic).await {
            assert!(super::is_passing(code), "{code:?}");
            sleep(Duration::from_millis(1)).await;
        }
    }
    machine.simulation.crash_process();
    topic
}

/// Members whose heartbeat is refused may give up all that they have: as in Kafka they hear of no error. All else comes again.
async fn second_life(machine: &Machine, topic: [u8; 16]) {
    let running = machine.boot().await.unwrap();
    machine.stalled.set(true);
    let client = running.connect(2);
    let mut loading = Vec::new();
    for name in NAMES {
        match client.offsets(&who(name), &[(topic, 0)]).await.unwrap() {
            Err(ErrorCode::CoordinatorLoadInProgress) => loading.push(name),
            told => assert!(told.is_ok(), "{told:?}"),
        }
    }
    assert!(!loading.is_empty(), "the last core to start has read nothing yet");
    let member = |group| Who { id: "member", generation: 7, ..who(group) };
    for name in &loading {
        assert_eq!(client.beat(&member(name)).await.unwrap(), Ok(()));
        assert_eq!(commit(&client, name, topic).await, Err(ErrorCode::CoordinatorLoadInProgress));
    }
    machine.stalled.set(false);
    sleep(Duration::from_secs(1)).await;
    for name in NAMES {
        assert_eq!(client.beat(&member(name)).await.unwrap(), Err(ErrorCode::UnknownMemberId));
        let told = client.offsets(&who(name), &[(topic, 0)]).await.unwrap().unwrap();
        assert_eq!(told[0].as_ref().unwrap().as_ref().map(|found| found.offset), Some(5));
    }
}

#[test]
fn while_groups_are_loaded_members_hear_of_no_error_and_all_others_come_again() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let machine = LocalSet::new().run_until(Machine::new(1, Simulation::new(1, SimOptions::default()))).await;
        let topic = LocalSet::new().run_until(first_life(&machine)).await;
        LocalSet::new().run_until(second_life(&machine, topic)).await;
    });
}
