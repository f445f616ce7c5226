"""The batch: plan, train what is missing, execute notebooks, report.

    plan -> one process per network that is not finished -> one process per notebook -> report

Everything a batch makes is whole or absent, so that the same command continues after any stop.
"""
