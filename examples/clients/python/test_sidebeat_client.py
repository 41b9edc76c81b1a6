"""What follows what, without a network: python3 -m unittest"""

import unittest

from sidebeat_client import Connection, Options, State


class Decisions(unittest.TestCase):
    def test_close_codes(self):
        options = Options(codes={4001: "retry", 1011: "stop"})
        expected = {"retry": (1001, 1005, 1006, 3000, 4001), "stop": (1000, 1008, 1011, 4000, 4999), "soon": (1012,), "slow": (1002, 1009, 1013)}
        self.assertEqual({code: options.verdict(code) for codes in expected.values() for code in codes},
                         {code: verdict for verdict, codes in expected.items() for code in codes})

    def test_waits_double_up_to_their_bound(self):
        options = Options(base=1, max=30, spread=5)
        self.assertEqual([options.wait("retry", failures) for failures in (0, 1, 2, 4, 5, 5000)], [(0, 1), (0, 2), (0, 4), (0, 16), (0, 30), (0, 30)])
        self.assertEqual([options.wait("soon", failures) for failures in (0, 2, 4)], [(0, 5), (0, 5), (0, 16)])
        self.assertEqual(options.wait("slow", 0), (15, 30))


class Outbox(unittest.IsolatedAsyncioTestCase):
    async def test_it_has_a_bound_and_is_closed_when_stopped(self):
        chat = Connection("ws://chat.example/", outbox=2)
        self.assertEqual([chat.send(text) for text in ("one", "two", "three")], [True, True, False])
        stopped = Connection("ws://chat.example/")
        stopped.state = State("stopped")
        self.assertFalse(stopped.send("one"))


if __name__ == "__main__":
    unittest.main()
