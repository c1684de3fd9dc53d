"""A family of another shape than Stable Diffusion's: video, a tree of context, flow.

It shows what a new family consists of: `family` is the file that puts it together, `networks` its modules, and
`components` how they lie in a checkpoint.
"""
