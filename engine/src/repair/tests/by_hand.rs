//! One kind of damage each, and what exactly becomes of it.

use std::fs;

use super::*;

/// What a plan says is lost, as first offset and the one behind the last.
fn lost(plan: &Plan) -> Vec<(i64, i64)> {
    let findings = plan.actions.iter().flat_map(|action| &action.findings);
    findings.filter_map(|finding| finding.lost.clone()).map(|lost| (lost.start.get(), lost.end.get())).collect()
}

fn at(position: u64) -> usize {
    usize::try_from(position).unwrap()
}

#[test]
fn a_sound_directory_needs_nothing() {
    let place = Place::new();
    assert!(place.plan().is_empty());
    place.assert_served(|_| true);
}

#[test]
fn what_is_deleted_is_neither_checked_nor_repaired() {
    let place = Place::new();
    let deleted = place.path().join("00ff-0.deleted");
    fs::create_dir(&deleted).unwrap();
    fs::write(deleted.join("00000000000000000000.log"), b"no batch").unwrap();
    assert!(place.plan().is_empty());
    place.assert_sound();
}

#[test]
fn a_damaged_batch_gives_way_to_an_empty_one_and_the_rest_stays() {
    let place = Place::new();
    let victim = place.stored[20].clone();
    place.change(&place.file(&victim.log), |bytes| bytes[at(victim.position) + 70] ^= 4);
    let end = place.stored[21].offset;
    let plan = place.repair();
    assert_eq!(lost(&plan), [(victim.offset, end)]);
    let rewritten = &plan.actions[0];
    assert_eq!(
        (rewritten.findings[0].position, rewritten.findings[0].bytes),
        (victim.position, victim.bytes.len() as u64)
    );
    let served = place.serve();
    let cover = BatchHeader::parse(&served[&victim.offset]).unwrap();
    assert_eq!((cover.record_count, cover.next_offset().get()), (0, end));
    place.assert_served(|stored| stored.offset != victim.offset);
}

#[test]
fn header_fields_outside_the_checksum_are_put_right_without_a_loss() {
    let sound = Place::new();
    // Base offset, batch length, leader epoch, magic.
    for (field, bit) in [(7, 0), (6, 3), (0, 6), (11, 1), (9, 7), (15, 0), (12, 6), (16, 2)] {
        for victim in [0, 13, 29, 59] {
            let place = sound.again();
            let victim = place.stored[victim].clone();
            place.change(&place.file(&victim.log), |bytes| bytes[at(victim.position) + field] ^= 1 << bit);
            let plan = place.repair();
            assert_eq!(lost(&plan), [], "byte {field}");
            place.assert_served(|_| true);
        }
    }
}

#[test]
fn damage_at_the_end_after_a_clean_stop_keeps_the_end_where_it_was() {
    let place = Place::new();
    let victim = place.stored.last().unwrap().clone();
    place.change(&place.file(&victim.log), |bytes| bytes.truncate(at(victim.position) + 30));
    let plan = place.repair();
    assert_eq!(lost(&plan), [(victim.offset, place.end())]);
    place.assert_served(|stored| stored.offset != victim.offset);
    assert_eq!(epochs(&place), [(0, 0)], "no offset is given again, so no epoch begins");
}

#[test]
fn a_lost_end_that_nothing_remembers_is_cut_and_begins_an_epoch() {
    let place = Place::new();
    let victim = place.stored.last().unwrap().clone();
    place.change(&place.file(&victim.log), |bytes| bytes[at(victim.position) + 65] ^= 1);
    fs::remove_file(place.path().join("recovery-checkpoint-0")).unwrap();
    place.repair();
    place.assert_served(|stored| stored.offset != victim.offset);
    assert_eq!(epochs(&place), [(0, 0), (1, victim.offset)]);
}

#[test]
fn a_torn_tail_is_cut_as_recovery_would() {
    let place = Place::new();
    place.make_unclean();
    let log = place.logs().pop().unwrap();
    let torn = batch(1);
    place.change(&place.file(&log), |bytes| {
        bytes.extend_from_slice(&torn[..40]);
        bytes.extend_from_slice(&[0; 500]);
    });
    let plan = place.repair();
    assert_eq!(lost(&plan), []);
    assert!(plan.actions[0].findings[0].what.contains("torn tail"), "{plan:?}");
    place.assert_served(|_| true);
}

#[test]
fn a_missing_segment_gets_a_stand_in_and_the_first_ones_raise_the_log_start() {
    let place = Place::new();
    let logs = place.logs();
    for name in [&logs[0], &logs[2], &logs[3]] {
        fs::remove_file(place.file(name)).unwrap();
    }
    place.repair();
    let gone = [&logs[0], &logs[2], &logs[3]];
    place.assert_served(|stored| !gone.contains(&&stored.log));
    let disk = disk();
    let meta = block_on(&*disk, PartitionMeta::read(&*disk, &place.path().join(PARTITION))).unwrap();
    assert_eq!(format!("{:020}.log", meta.log_start.get()), logs[1]);
}

#[test]
fn a_partition_without_any_segment_goes_on_where_it_ended() {
    let place = Place::new();
    for name in place.logs() {
        fs::remove_file(place.file(&name)).unwrap();
    }
    place.repair();
    assert!(place.serve().is_empty());
    assert_eq!(place.logs(), [format!("{:020}.log", place.end())]);
}

#[test]
fn a_lost_meta_is_made_anew_with_an_epoch_that_nobody_has_seen() {
    for is_gone in [false, true] {
        let place = Place::new();
        let meta = place.file("partition.meta");
        match is_gone {
            true => fs::remove_file(&meta).unwrap(),
            false => place.change(&meta, |bytes| bytes[30] ^= 1),
        }
        place.repair();
        place.assert_served(|_| true);
        // One start was there, so that no client knows an epoch above 1.
        assert_eq!(epochs(&place), [(0, 0), (2, place.end())]);
    }
}

#[test]
fn a_meta_of_another_partition_is_left_alone() {
    let place = Place::new();
    let stranger = Known {
        identities: BTreeMap::from([(PARTITION.to_owned(), Identity { topic_id: [9; 16], partition: 0 })]),
        ..known()
    };
    let plan = plan(place.path(), &stranger).unwrap();
    assert!(plan.is_empty() && plan.left.len() == 1, "{plan:?}");
}

#[test]
fn the_topic_of_a_lost_meta_is_known_by_its_other_partitions() {
    let place = Place::new();
    let other = place.path().join("logs-1");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("partition.meta"), PartitionMeta::new(Identity { partition: 1, ..ID }).to_file()).unwrap();
    fs::remove_file(place.file("partition.meta")).unwrap();
    plan(place.path(), &Known::default()).unwrap().apply().unwrap();
    let disk = disk();
    let meta = block_on(&*disk, PartitionMeta::read(&*disk, &place.path().join(PARTITION))).unwrap();
    assert_eq!(meta.identity, ID);
}

#[test]
fn derived_files_are_removed_or_rebuilt_and_the_superblock_is_made_anew() {
    let place = Place::new();
    let logs = place.logs();
    let index = place.file(&logs[1].replace(".log", ".index"));
    let before = fs::read(&index).unwrap();
    place.change(&index, |bytes| bytes[2] ^= 1);
    fs::remove_file(place.file(&logs[2].replace(".log", ".timeindex"))).unwrap();
    let snapshot = names(&place.path().join(PARTITION), ".producers").pop().unwrap();
    place.change(&place.file(&snapshot), |bytes| bytes[17] ^= 1);
    place.change(&place.path().join("recovery-checkpoint-0"), |bytes| bytes[40] ^= 1);
    place.change(&place.path().join("superblock"), |bytes| bytes[40] ^= 1);
    let plan = place.repair();
    assert_eq!(plan.actions.len(), 5, "{plan:#?}");
    assert_ne!(fs::read(&index).unwrap(), before, "the entries are further apart than the topic's");
    assert!(!place.file(&snapshot).exists() && !place.path().join("recovery-checkpoint-0").exists());
    place.assert_served(|_| true);
}

#[test]
fn a_stale_copy_of_older_batches_is_not_taken_for_new_ones() {
    let place = Place::new();
    // A batch of the same size further on, with the same number of records: what a misplaced write leaves.
    let pair = place.stored.iter().enumerate().find_map(|(number, early)| {
        let late = place.stored[number + 1..].iter().find(|late| late.bytes.len() == early.bytes.len())?;
        Some((early.clone(), late.clone()))
    });
    let (early, late) = pair.expect("batches repeat their sizes");
    place.change(&place.file(&late.log), |bytes| {
        bytes[at(late.position)..at(late.position) + late.bytes.len()].copy_from_slice(&early.bytes);
    });
    place.repair();
    place.assert_served(|stored| stored.offset != late.offset);
    assert_eq!(BatchHeader::parse(&place.serve()[&late.offset]).unwrap().record_count, 0);
}

#[test]
fn an_end_behind_the_recovery_point_is_told_and_covered() {
    let place = Place::new();
    let victim = place.stored.last().unwrap().clone();
    // Cut exactly between two batches: nothing in the file itself shows it.
    place.change(&place.file(&victim.log), |bytes| bytes.truncate(at(victim.position)));
    let report = verify(place.path(), VerifyOptions::default()).unwrap();
    assert!(report.problems().any(|problem| problem.what.contains("was durable")), "{report:?}");
    assert_eq!(lost(&place.repair()), [(victim.offset, place.end())]);
    place.assert_served(|stored| stored.offset != victim.offset);
    assert_eq!(offset(place.end()).get(), place.end());
}

#[test]
fn copies_are_never_written_over() {
    let place = Place::new();
    for round in 1..=3 {
        let index = place.file(&place.logs()[2].replace(".log", ".timeindex"));
        place.change(&index, |bytes| bytes[round] ^= 0x20);
        place.repair();
        assert!(place.path().join(format!("before-repair.{round}")).join(PARTITION).exists(), "round {round}");
    }
}

/// Serving refuses a batch whose epoch did not reign at its offset. A stand-in got the epoch of the batch before it, so that damage in the
/// first batch of a reign was never mended: the repaired range went on being CORRUPT_MESSAGE.
#[test]
fn damage_where_a_reign_begins_is_mended_in_the_epoch_of_that_reign() {
    let sound = Place::with_reigns(6);
    let reigns = epochs(&sound);
    for first in [10, 20, 30, 40, 50] {
        // The last of a reign, the first of the next, and both.
        for victims in [first - 1..first, first..first + 1, first - 1..first + 1] {
            let place = sound.again();
            let lost = sound.stored[victims.start].offset..sound.stored[victims.end].offset;
            for victim in &sound.stored[victims] {
                place.change(&place.file(&victim.log), |bytes| bytes[at(victim.position) + 70] ^= 4);
            }
            place.repair();
            place.assert_served(|stored| !lost.contains(&stored.offset));
            assert_eq!(epochs(&place), reigns);
        }
    }
}

#[test]
fn header_fields_are_put_right_where_a_reign_begins() {
    let sound = Place::with_reigns(6);
    // Base offset, batch length, three bits of the leader epoch, magic.
    for (field, bit) in [(7, 0), (11, 1), (15, 0), (15, 1), (15, 2), (12, 6), (16, 2)] {
        for victim in [9, 10, 19, 20, 30, 50, 59] {
            let place = sound.again();
            let victim = &sound.stored[victim];
            place.change(&place.file(&victim.log), |bytes| bytes[at(victim.position) + field] ^= 1 << bit);
            let plan = place.repair();
            assert_eq!(lost(&plan), [], "byte {field}");
            place.assert_served(|_| true);
        }
    }
}

#[test]
fn a_stand_in_for_a_missing_end_of_a_segment_has_the_epoch_of_its_own_reign() {
    let place = Place::with_reigns(6);
    let newest = place.logs().pop().unwrap();
    let is_inside = |stored: &&Stored| stored.log != newest && stored.position > 0;
    let first = place.stored.iter().step_by(10).skip(1).find(is_inside).unwrap().clone();
    place.change(&place.file(&first.log), |bytes| bytes.truncate(at(first.position)));
    place.repair();
    place.assert_served(|stored| stored.log != first.log || stored.position < first.position);
}

/// Such a batch is CORRUPT_MESSAGE to whoever fetches it, so that a directory with one is not well.
#[test]
fn verify_names_an_epoch_that_did_not_reign_where_it_stands() {
    let place = Place::with_reigns(6);
    // One that goes neither back behind the batch before nor past the batch behind.
    let victim = place.stored[20].clone();
    place.change(&place.file(&victim.log), |bytes| bytes[at(victim.position) + 15] = 1);
    let report = verify(place.path(), VerifyOptions::default()).unwrap();
    let problems: Vec<_> = report.problems().collect();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!((&problems[0].file, problems[0].position), (&place.file(&victim.log), victim.position));
    assert_eq!(problems[0].what, "leader epoch 1 where 2 reigned");
    place.repair();
    place.assert_served(|_| true);
}
