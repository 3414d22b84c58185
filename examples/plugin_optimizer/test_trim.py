import asyncio

from pennyweight_trim import Settings, build

from pennyweight.call import Rewrite
from pennyweight.testing.backend import make_call
from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract, odd_calls

SPACED = (
    b'{"model":"m","messages":[{"role":"system","content":"Be brief.        \\nBe kind.\\t"},'
    b'{"role":"user","content":"hi  "}]}'
)


class TestTrim(OptimizerContract):
    def build(self, parts):
        return build(Settings(), parts)

    def calls(self):
        return [*odd_calls(), make_call(SPACED)]

    def test_it_trims_the_system_prompt_and_nothing_else(self):
        call = make_call(SPACED)
        proposal = asyncio.run(self.build(ContractParts()).propose(call))
        assert isinstance(proposal.action, Rewrite)
        sent = call.apply(proposal.action).request.body
        assert sent["messages"] == [
            {"role": "system", "content": "Be brief.\nBe kind."},
            {"role": "user", "content": "hi  "},
        ]
        assert proposal.tokens > 0
        assert proposal.saving > 0
