"""Which test keeps each known way of losing uploads on object stores away. A test that vanishes is missed here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent

#: OBJ1-OBJ7, RUS3, A1, G1: faults of other servers. Rows: losses that users of tusd met. Quirks: what tusd does. Then
#: what servers that speak S3 do differently, and the sizes at which stores go wrong.
KEPT_BY: Final = {
    "OBJ1, row 3, quirk 3": ["test_s3_losses.py::test_obj1_part_missing_between_stored_ones_does_not_count"],
    "OBJ2, row 5, quirk 4": [
        "test_s3_losses.py::test_obj2_acknowledged_tail_outlives_a_failed_append",
        "test_s3_losses.py::test_obj2_tail_that_cannot_be_fetched_is_not_dropped",
        "test_s3_kill.py::test_killed_between_any_two_calls_loses_nothing",
    ],
    "OBJ3": ["test_s3_losses.py::test_obj3_aborted_upload_is_gone_and_not_complete"],
    "OBJ4": ["test_s3_losses.py::test_obj4_declared_length_is_seen_by_every_process"],
    "OBJ5": ["test_s3_losses.py::test_obj5_terminated_upload_leaves_nothing_in_the_bucket"],
    "OBJ6": ["test_s3_losses.py::test_obj6_empty_upload_becomes_an_empty_object"],
    "OBJ7, quirk 5": ["test_s3_losses.py::test_obj7_idle_clients_hold_no_slot"],
    "RUS3": [
        "test_s3_losses.py::test_rus3_record_shows_the_clients_metadata_only",
        "test_s3_losses.py::test_obj5_terminated_upload_leaves_nothing_in_the_bucket",
        "test_s3_app.py::test_rus3_head_tells_the_clients_metadata_and_nothing_of_s3",
    ],
    "A1": ["ledger_promises.py::test_a1_a_body_is_stored_in_pieces_while_it_arrives"],
    "G1": [
        "ledger_promises.py::test_g1_an_append_that_breaks_at_offset_0_leaves_the_upload",
        "ledger_app.py::test_g1_a_client_that_goes_at_its_first_patch_finds_its_bytes",
    ],
    "row 1, quirk 2": ["test_s3_losses.py::test_row1_tail_of_an_upload_of_unknown_length_is_part_of_the_object"],
    "row 2": [
        "test_s3_losses.py::test_row2_listing_that_lags_behind_completes_nothing",
        "test_s3_losses.py::test_completing_more_or_less_than_the_length_is_refused",
    ],
    "row 4": [
        "test_s3_losses.py::test_row4_failed_completion_is_made_good_later",
        "test_s3_losses.py::test_row4_completion_whose_answer_was_lost_is_a_completion",
        "ledger_promises.py::test_row_4_an_end_that_failed_is_made_good_later",
        "ledger_faults.py::test_any_call_may_fail_and_the_upload_ends_whole",
    ],
    "row 9": [
        "test_s3_losses.py::test_row9_writer_that_was_never_closed_adds_nothing_wrong",
        "test_s3_losses.py::test_row9_full_part_that_lands_beside_an_acknowledged_tail_does_not_count",
        "ledger_promises.py::test_row_9_pieces_of_an_aborted_append_are_never_taken_for_another_s",
    ],
    "row 10": [
        "test_azure_promises.py::test_row_10_committed_blocks_of_an_earlier_upload_of_the_id_do_not_count",
        "test_azure_promises.py::test_row_10_a_blob_overwritten_in_a_versioned_container_is_the_new_upload",
    ],
    "row 11": ["ledger_promises.py::test_row_11_nothing_empty_is_stored_as_a_piece"],
    "row 12": [
        "test_s3_losses.py::test_row12_every_byte_below_an_offset_can_be_read_after_a_failed_append",
        "ledger_promises.py::test_row_12_every_byte_below_an_offset_can_be_read_after_a_failed_append",
    ],
    "row 13": ["test_s3_losses.py::test_row13_keys_of_any_characters_are_copied_from"],
    "quirk 6": [
        "test_s3_parts.py::test_resume_after_nine_thousand_parts_still_reaches_the_end",
        "test_s3_parts.py::test_upload_of_nine_thousand_parts_and_a_tail_is_seen_whole",
        "test_s3_campaign.py::test_upload_of_nine_thousand_parts_is_resumed_and_completed",
        "test_s3_parts.py::test_every_size_up_to_the_largest_object_fits",
        "test_s3_parts.py::test_unknown_length_grows_until_everything_fits",
    ],
    "quirk 7": [
        "test_s3_losses.py::test_quirk7_final_of_small_parts_keeps_its_content_type",
        "test_s3_parts.py::test_streamed_parts_are_never_much_larger_than_a_minimum_part",
    ],
    "quirk 34": [
        "ledger_promises.py::test_quirk_34_any_id_and_an_empty_upload_work",
        "ledger_promises.py::test_row_19_terminating_a_leaves_ab_alone",
    ],
    "quirk 35": [
        "ledger_promises.py::test_quirk_35_content_type_is_the_one_announced_or_preset",
        "ledger_promises.py::test_quirk_35_an_unfinished_upload_is_terminated_without_a_trace",
        "ledger_promises.py::test_row_11_nothing_empty_is_stored_as_a_piece",
        "ledger_promises.py::test_memory_is_bounded_by_the_pieces_in_flight",
    ],
    "a write that lands after a newer one": [
        "test_s3_losses.py::test_tail_that_lands_after_a_newer_one_changes_nothing",
        "ledger_promises.py::test_a_ledger_that_lands_after_a_newer_one_changes_nothing",
    ],
    "NoSuchKey for NoSuchUpload": ["test_s3_losses.py::test_server_that_says_nosuchkey_for_uploads_is_understood"],
    "part numbers listed twice": [
        "test_s3_losses.py::test_part_numbers_listed_twice_count_once",
        "test_s3.py::test_part_stored_again_is_listed_twice_and_counts_once",
    ],
    "metadata names in another case": ["test_s3_losses.py::test_metadata_names_in_another_case_are_understood"],
    "pages of any size": [
        "test_s3_losses.py::test_pages_of_any_size_are_read_to_their_end",
        "test_s3_campaign.py::test_parts_beyond_the_page_that_the_server_allows_are_found",
    ],
    "the smallest part and one byte less": [
        "test_s3.py::test_what_is_left_about_as_large_as_the_smallest_part_is_kept"
    ],
    "1-byte and odd appends": ["test_s3_app.py::test_clients_that_send_small_chunks_are_served"],
}


@pytest.mark.parametrize("promise", KEPT_BY)
def test_every_known_loss_has_its_tests(promise: str) -> None:
    for test in KEPT_BY[promise]:
        file, _, name = test.partition("::")
        assert re.search(rf"^\s*def {name}\(", (HERE / file).read_text(), re.MULTILINE), test
