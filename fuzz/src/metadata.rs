//! Drivers for the metadata database: rows of our own making inside a sound database, and a database with flipped bytes.
//!
//! Whatever is there: it opens, or is refused in words. What opened holds only topics that could have been made, and goes on.

use std::path::Path;
use std::sync::LazyLock;

use redb::{Database, TableDefinition};
use ringmill::config::BrokerConfig;
use ringmill::metadata::{Metadata, NewTopic, Options, check_topic_name};

use crate::scratch;
use crate::script::Script;

const CLUSTER: &str = "fuzzed";

static STARTED: LazyLock<BrokerConfig> =
    LazyLock::new(|| BrokerConfig::from_settings(&[]).expect("the defaults are good"));

/// The bytes of a database with two topics in it.
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let directory = scratch::directory();
    let file = directory.path().join("metadata.redb");
    let metadata = Metadata::open(&file, Options::new(CLUSTER, &STARTED)).expect("a new database opens");
    on_runtime(async {
        for name in ["first", "second"] {
            let topic = NewTopic { name: name.to_owned(), partition_count: 2, settings: Default::default() };
            let prepared = metadata.prepare_topic(topic, 1).await.expect("the topic is good");
            metadata.commit_topic(prepared).await.expect("the disk is well");
        }
        metadata.close().await;
    });
    std::fs::read(&file).expect("it was just written")
});

/// Rows, each a table, a key and a value; in the table of numbers the value is eight bytes.
pub fn rows(data: &[u8]) {
    const TABLES: [TableDefinition<'_, &str, &str>; 4] = [
        TableDefinition::new("topics"),
        TableDefinition::new("deletions"),
        TableDefinition::new("brokers"),
        TableDefinition::new("words"),
    ];
    const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
    let sound_bytes = &*SOUND;
    let file = scratch::file("metadata.redb");
    std::fs::write(&file, sound_bytes).expect("the file can be written");
    let sound = "the database is sound, and the disk is well";
    {
        let database = Database::create(&file).expect(sound);
        let transaction = database.begin_write().expect(sound);
        let mut script = Script::new(data);
        while let Some(table) = script.step() {
            let key = script.text(260);
            match usize::from(table) % (TABLES.len() + 1) {
                4 => {
                    let name = script.choose(&["next producer id", "next placement", "format version"]);
                    let number = script.number().cast_unsigned();
                    transaction.open_table(NUMBERS).expect(sound).insert(name, number).expect(sound);
                }
                // The cluster's id is left alone: with another nothing opens.
                3 if key == "cluster id" => {}
                table => {
                    let value = script.text(600);
                    transaction.open_table(TABLES[table]).expect(sound).insert(key, value).expect(sound);
                }
            }
        }
        transaction.commit().expect(sound);
    }
    open_and_use(&file);
}

/// Changes of a sound database's bytes: each a position (four bytes) and up to 64 bytes that go there.
pub fn database(data: &[u8]) {
    let mut bytes = SOUND.clone();
    let mut script = Script::new(data);
    while let Some(high) = script.step() {
        let at = u32::from_be_bytes([0, high, script.byte(), script.byte()]) as usize % bytes.len();
        let changed = script.bytes(64);
        let changed = &changed[..changed.len().min(bytes.len() - at)];
        bytes[at..at + changed.len()].copy_from_slice(changed);
    }
    let file = scratch::file("metadata.redb");
    std::fs::write(&file, &bytes).expect("the file can be written");
    open_and_use(&file);
}

fn open_and_use(file: &Path) {
    let metadata = match Metadata::open(file, Options::new(CLUSTER, &STARTED)) {
        Ok(metadata) => metadata,
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            return;
        }
    };
    for topic in metadata.image().topics() {
        assert_eq!(check_topic_name(&topic.name), Ok(()), "its files get this name");
        assert!((1..=10_000).contains(&topic.partition_count), "{} partitions", topic.partition_count);
        assert!(topic.owner(topic.partition_count - 1, 2) < 2);
        assert_eq!(metadata.image().topic_by_id(&topic.id).map(|found| &found.name), Some(&topic.name));
    }
    on_runtime(async {
        if let Ok(ids) = metadata.take_producer_ids().await {
            assert!(ids.start >= 0 && ids.start < ids.end);
        }
        let topic = NewTopic { name: "another".to_owned(), partition_count: 3, settings: Default::default() };
        if let Ok(prepared) = metadata.prepare_topic(topic, 1).await {
            let made = metadata.commit_topic(prepared).await;
            assert!(made.is_err() || metadata.image().topic("another").is_some());
        }
        metadata.close().await;
    });
}

fn on_runtime(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime takes no resources").block_on(work);
}
