"""What surrounds a call. Each policy wraps a provider and is one, so that they stack in any order.

From the outside in: cache, hedge, retry, learnt profile, budget, breaker, limits, the meter, the model.
"""
