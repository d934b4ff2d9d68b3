"""Our MuJoCo suite: a gripper over a table with coloured objects, and tasks named in words."""
