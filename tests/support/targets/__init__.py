"""The contract suite of targets, by what is asked of them; `target_contract.py` puts it together."""
