"""Functions for CVAT: for its agents and its command line (`detector`, `interactor`), and for its serverless part.

`detector` and `interactor` need CVAT's SDK, which `pip install 'promptseg[cvat]'` installs; `serverless` needs nothing.
"""
