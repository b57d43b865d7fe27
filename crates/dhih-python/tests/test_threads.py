"""Other threads run during calls; forked processes, too, can call."""

import os
import signal
import sys
import threading
import time
import unittest

import dhih
import numpy as np
from support import directory, picture, png, run, some_codes


class Threads(unittest.TestCase):
    def assert_others_run_during(self, call):
        """A thread that waits for the interpreter's lock gets it during `call`: nothing else gives it away meanwhile."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        try:
            for _ in range(200):
                go, ran = threading.Lock(), []
                go.acquire()
                other = threading.Thread(target=lambda: (go.acquire(), ran.append(True)), daemon=True)
                other.start()
                go.release()
                before = list(ran)
                call()
                after = list(ran)
                other.join()
                if after and not before:
                    return
            self.fail("no other thread ran during 200 calls")
        finally:
            sys.setswitchinterval(interval)

    def test_a_call_that_does_not_wait_keeps_the_lock(self):
        with self.assertRaisesRegex(AssertionError, "no other thread ran"):
            self.assert_others_run_during(lambda: sum(range(10_000)))

    def test_others_run_during_every_long_call(self):
        codes = some_codes(1, 100_000, 128)
        path, labels = directory(), np.arange(3000) % 9
        index = dhih.build(codes, path)
        values = np.zeros((300_000, 64), np.float32)
        self.assert_others_run_during(lambda: dhih.build(codes, path))
        self.assert_others_run_during(lambda: index.search(codes[:500], 10))
        self.assert_others_run_during(lambda: index.radius_search(codes[:500], 5))
        self.assert_others_run_during(lambda: dhih.pack(values))
        part = codes[:3000]
        self.assert_others_run_during(
            lambda: dhih.evaluate(part, part, database_labels=labels, query_labels=labels)
        )
        encoder = dhih.Encoder(run())
        images = np.zeros((500, *encoder.input_shape), np.uint8)
        self.assert_others_run_during(lambda: encoder.encode(images))
        self.assert_others_run_during(lambda: encoder.encode_packed(images))

    def test_a_file_may_come_from_another_thread(self):
        encoder, pipe = dhih.Encoder(run()), directory() / "pipe.png"
        data = png(picture(1, 40, 40))
        os.mkfifo(pipe)
        writer = threading.Thread(target=lambda: pipe.write_bytes(data), daemon=True)
        writer.start()
        np.testing.assert_array_equal(encoder.encode_files([pipe]), encoder.encode_files([data]))
        writer.join()

    def test_threads_share_an_index_that_changes(self):
        codes = some_codes(2, 4000, 48)
        index, failed = dhih.build(codes[:2000], directory()), []

        def search():
            try:
                for _ in range(20):
                    distances, _ = index.search(codes[:2000], 1)
                    assert not distances.any()
            except BaseException as error:
                failed.append(error)

        def add(start):
            try:
                index.add(codes[start : start + 1000])
            except BaseException as error:
                failed.append(error)

        work = [threading.Thread(target=search) for _ in range(2)]
        work += [threading.Thread(target=add, args=(start,)) for start in (2000, 3000)]
        [thread.start() for thread in work]
        [thread.join() for thread in work]
        self.assertEqual((failed, len(index)), ([], 4000))

    def test_the_number_of_threads_is_set_and_changes_no_result(self):
        codes = some_codes(3, 5000, 48)
        labels = np.arange(5000) % 10
        found = []
        for threads in (1, 3, 0):
            dhih.set_num_threads(threads)
            self.assertEqual(dhih.num_threads(), threads or dhih.num_threads())
            index = dhih.build(codes, directory())
            sets = dhih.CodeSet(codes, labels=labels)
            found.append((index.search(codes, 5)[1].tolist(), dhih.evaluate(sets, sets)))
        self.assertTrue(found[0] == found[1] == found[2])
        with self.assertRaisesRegex(dhih.DhihError, "threads: expected 0 to 1024, got 1025"):
            dhih.set_num_threads(1025)

    def test_a_search_for_one_query_takes_no_more_threads_than_are_set(self):
        random = np.random.default_rng(7)
        # A scan of all of them takes longer than a millisecond, so that it is divided.
        codes = random.integers(0, 256, (1_500_000, 128), np.uint8)
        index = dhih.build(codes, directory(), substrings=1)
        query = random.integers(0, 256, (1, 128), np.uint8)

        def share_of_others():
            """The part of the processor's time that other threads than this one spend on searches."""
            time.sleep(0.1)
            all_threads, this = time.process_time(), time.thread_time()
            for _ in range(20):
                index.search(query, 10)
            all_threads, this = time.process_time() - all_threads, time.thread_time() - this
            return 1 - this / all_threads

        try:
            dhih.set_num_threads(4)
            self.assertGreater(share_of_others(), 0.1, "a long search is divided")
            dhih.set_num_threads(1)
            self.assertLess(share_of_others(), 0.02)
        finally:
            dhih.set_num_threads(0)

    def test_a_forked_process_has_threads_of_its_own(self):
        codes = some_codes(4, 3000, 48)
        index = dhih.build(codes, directory())
        expected = index.search(codes, 3)
        child = os.fork()
        if child == 0:
            found = index.search(codes, 3)
            os._exit(0 if all(map(np.array_equal, found, expected)) else 1)
        for _ in range(600):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.1)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            self.fail("the search hangs in a forked process")
        self.assertEqual(os.waitstatus_to_exitcode(status), 0)
