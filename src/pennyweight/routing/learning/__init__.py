"""What is learnt of which model is good at what: a table of task types and models with shipped priors, and on top of it
what the user's own outcomes of similar texts say. `router.Learned` holds it together. See docs/learned-router.md.
"""
